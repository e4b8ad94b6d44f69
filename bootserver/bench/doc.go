// Package bench measures the boot server beside the servers that it competes
// with: Kea and dnsmasq for DHCP, tftpd-hpa, atftpd and dnsmasq for TFTP, nginx
// for HTTP. `make bench-bootserver` runs it and writes docs/bench/bootserver.
//
// All run one after the other in one run, on the same cable: a veth pair whose
// one end is this process's network, and the other the servers'. Each has its
// usual settings, its log in a file, and what it promises on disk. Rounds are
// interleaved and the median counts, so that what else the computer does hits
// all of them. Times of the wall depend on the computer; compare the ratios.
//
// TestBench (bench_test.go) is the order of events; wire_test.go the cable and
// what a server costs; dhcp_test.go, tftp_test.go and http_test.go the loads and
// the rivals; report_test.go the goals, the tables and the picture.
package bench
