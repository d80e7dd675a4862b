// Package machine_test boots machines in which nsinit runs on Debian's kernel,
// the oldest that it supports, with every controller and every capability, and
// tests there what cannot be tested on the machine that the tests run on.
//
//	packaging/test.sh machine
//
// An image is made by packaging/appliance from testdata/machine.list and the
// units that a test gives. A test talks to the agent in it over a virtio port,
// to QEMU over QMP, and reads the serial console when all is over: whatever the
// test is about, neither a kernel's nor a Go program's panic may stand there.
package machine_test
