// Package e2e keeps what Swarmboot promises, with machines in QEMU that know
// nothing and the programs in build/ as they are shipped. It has tests only:
//
//	boot_test.go      from power-on to login, hand-over, reboot and power-off
//	firmware_test.go  each kind of firmware, with Secure Boot and without
//	faults_test.go    the swarm engine is killed, the server is stopped
//	trust_test.go     damaged images and a server that is not ours
//	settings_test.go  mistakes in the settings file
//	images_test.go    images from containers, archives, folders and disks
//	package_test.go   the Debian package, installed; container_test.go the container
//	lab_test.go       swarmboot lab, where only the package is
//	power_test.go     a machine switched by its management controller
//	web_test.go       the admin pages, beside machines and thousands of simulated ones
//	docs_test.go      the commands of the documentation, typed
//	disk_test.go      the appliance disk, set up on its console
//	rack_test.go      a boot server and machines on a network of their own
//
// make e2e builds what they need and runs them; they need root. Of a test that
// fails, the consoles, the capture of the network, and the server's log and
// settings are kept in build/e2e.
package e2e
