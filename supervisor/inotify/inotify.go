// Package inotify reads what the kernel tells of watched files (inotify(7)).
package inotify

import (
	"bytes"
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// Event is a struct inotify_event.
type Event struct {
	Watch int    // as inotify_add_watch(2) gave it; -1 of an overflow
	Mask  uint32 // IN_CREATE and so on
	Name  string // in the watched directory; "" of the watched file itself
}

// Events gives the events in b, which one read(2) has filled.
func Events(b []byte) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for len(b) >= unix.SizeofInotifyEvent {
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			e := Event{Watch: int(int32(binary.NativeEndian.Uint32(b))), Mask: binary.NativeEndian.Uint32(b[4:]),
				Name: string(bytes.TrimRight(b[unix.SizeofInotifyEvent:end], "\x00"))}
			if b = b[end:]; !yield(e) {
				return
			}
		}
	}
}
