// Package isolate decides how a service is set apart from the machine: it
// turns a Spec, what a unit wants, and a Host, what the kernel gives, into a
// Program, the very system calls of the start in order.
//
// The package is pure. It makes no system call, so that a start can be shown
// (nsctl plan), compared and tested without root; package launch executes
// Programs and knows nothing of units.
package isolate
