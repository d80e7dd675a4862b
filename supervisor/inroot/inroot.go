// Package inroot finds files in the root of a service, where links, devices and
// FIFOs are the service's to make.
package inroot

import "golang.org/x/sys/unix"

// Open finds name below the directory that root has open, and opens nothing: the
// descriptor is an O_PATH one (open(2)), close-on-exec and the caller's. To open a
// device or a FIFO has effects; look at what it is first, and open it by
// /proc/self/fd. Links are followed inside root only, and those of /proc that lead
// anywhere are not (RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS of openat2(2), Linux
// 5.6). flags are added, such as O_DIRECTORY. The error is the bare errno.
func Open(root int, name string, flags uint64) (int, error) {
	return unix.Openat2(root, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}
