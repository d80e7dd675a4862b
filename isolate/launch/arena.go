package launch

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

const (
	pageSize    = 4096
	stackSize   = pageSize // the child's frames are nosplit: the linker keeps them below 800 bytes
	arenaSize   = 1 << 20  // room for 8 environments of the longest string that execve(2) takes
	arenaImage  = pageSize
	arenaKept   = arenaImage + stackSize // what the reaper goes on with
	arenaStatic = arenaKept + stackSize  // and the stack of its programs
)

// arena is the one mapping that the child keeps. It is filled anew for every
// launch, under the launcher's lock; the child has a copy from its clone on.
//
//	image | reaper's stack | programs' stack | steps, strings and structures
//	------- kept ----------|------ unmapped once the last program runs ------
type arena struct {
	mem []byte
	off uintptr
}

func newArena() (*arena, error) {
	m, err := syscall.Mmap(-1, 0, arenaSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("cannot map the launch arena: %w", os.NewSyscallError("mmap", err))
	}
	return &arena{mem: m}, nil
}

// reset forgets the previous launch.
func (a *arena) reset() *image {
	a.off = arenaStatic
	img := (*image)(unsafe.Pointer(&a.mem[0]))
	*img = image{one: 1, sigset: 1 << (uint(syscall.SIGCHLD) - 1), failed: -1}
	kept := pageUp(arenaKept)
	img.discard, img.discardLen = a.start()+kept, arenaSize-kept
	img.cwd = (*byte)(a.alloc(pathMax))
	return img
}

func (a *arena) start() uintptr { return uintptr(unsafe.Pointer(&a.mem[0])) }
func (a *arena) end() uintptr   { return a.start() + uintptr(len(a.mem)) }

// full is what alloc panics with; encode turns it into an error.
type full struct{}

func (a *arena) alloc(n uintptr) unsafe.Pointer {
	a.off = (a.off + 15) &^ 15
	if a.off+n >= uintptr(len(a.mem)) {
		panic(full{})
	}
	p := unsafe.Pointer(&a.mem[a.off])
	a.off += n
	return p
}

func (a *arena) bytes(b []byte) uintptr {
	p := a.alloc(uintptr(max(len(b), 1)))
	copy(unsafe.Slice((*byte)(p), len(b)), b)
	return uintptr(p)
}

func (a *arena) cstring(s string) uintptr {
	p := a.alloc(uintptr(len(s) + 1))
	b := unsafe.Slice((*byte)(p), len(s)+1)
	copy(b, s)
	b[len(s)] = 0
	return uintptr(p)
}

// vector keeps the one string that is known already at its address.
func (a *arena) vector(ss []string, known string, at uintptr) uintptr {
	p := a.alloc(uintptr(len(ss)+1) * 8)
	v := unsafe.Slice((*uintptr)(p), len(ss)+1)
	for i, s := range ss {
		if v[i] = at; s != known || at == 0 {
			v[i] = a.cstring(s)
		}
	}
	v[len(ss)] = 0
	return uintptr(p)
}
