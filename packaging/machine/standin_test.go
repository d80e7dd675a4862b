package machine_test

// standIn: process 1 is busybox's init, which runs the manager.
const standIn = true
