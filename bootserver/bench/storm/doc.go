// Package storm measures a rack that is switched on at once: machines that boot
// the same image over shaped links, with our swarm and with its rivals.
// `make bench-storm` runs it and writes docs/bench/storm.
//
// Each machine is a network namespace whose cable is shaped in both directions
// (cables_test.go), so that the links are the limit and not this computer. All
// systems give the same image to the same machines, one after the other, in one
// run; each is told what it needs to be at its best, and its command lines are
// printed (rivals_test.go). Ours is the real seeder, tracker and swarm engine,
// and a reader that replays a boot: it reads the image's hot pieces in order and
// computes between the reads (node_test.go, load_test.go). A system that can
// only bring the whole image boots when it is there.
//
// What else may be the case, such as racks, faults, other links or another image,
// is a scene (scenes_test.go).
//
// Seconds depend on the links; what counts is their ratio to the bound, the
// least time in which any scheme could do it (load_test.go). storm_test.go is
// the order of events, process_test.go the programs that take part,
// report_test.go the goals, the tables and the picture.
package storm
