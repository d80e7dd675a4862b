package launch

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"
)

// The child keeps the text and the read-only data of the program mapped: a
// switch of eight cases jumps through a table there. The linker places them
// side by side from runtime.text to runtime.erodata.

//go:linkname runtimeErodata runtime.erodata
var runtimeErodata byte

// keepEnd is the first page that the child unmaps.
func keepEnd() uintptr {
	return pageUp(uintptr(unsafe.Pointer(&runtimeErodata)))
}

// pageUp rounds up to the kernel's pages, which have up to 64 KiB on arm64.
// (The linker keeps segments that far apart there.)
func pageUp(n uintptr) uintptr {
	size := uintptr(os.Getpagesize())
	return (n + size - 1) &^ (size - 1)
}

// CheckBuild reports what in the running program's build would break launches:
// anything but a static, position-dependent executable without cgo, -race and
// -cover. (A C library registers rseq(2), which the kernel then writes into
// memory that the child has unmapped; instrumented code calls into the
// runtime from the child.)
func CheckBuild() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("cannot launch: this program has no build information; build it with go build")
	}
	var wrong []string
	for _, s := range info.Settings {
		switch {
		case (s.Key == "-race" || s.Key == "-cover" || s.Key == "-msan" || s.Key == "-asan") && s.Value == "true":
			wrong = append(wrong, s.Key)
		case s.Key == "CGO_ENABLED" && s.Value == "1":
			wrong = append(wrong, "CGO_ENABLED=1")
		}
	}
	if err := checkELF("/proc/self/exe"); err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(wrong) > 0 {
		return fmt.Errorf("cannot launch: built with %s; build with CGO_ENABLED=0 go build -buildmode=exe", strings.Join(wrong, ", "))
	}
	return nil
}

// Of elf(5): file types, and the segment that names a dynamic linker.
const (
	elfExec   = 2
	elfDyn    = 3
	elfInterp = 3
)

// checkELF fails for an executable that is dynamic or position-independent. It
// reads a 64-bit little-endian header (elf(5)), which all that launch has code
// for have: package debug/elf would bring DWARF and three decompressors along.
func checkELF(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no /proc yet, as PID 1 of a machine: the file itself was checked when it was built
	}
	if err != nil {
		return fmt.Errorf("an unreadable executable (%w)", err)
	}
	defer f.Close()
	head := make([]byte, 64)
	if _, err := f.ReadAt(head, 0); err != nil {
		return fmt.Errorf("an unreadable executable (%w)", err)
	}
	le := binary.LittleEndian
	if string(head[:6]) != "\x7fELF\x02\x01" {
		return errors.New("an executable that is no 64-bit little-endian ELF")
	}
	switch kind := le.Uint16(head[16:]); kind {
	case elfExec:
	case elfDyn:
		return errors.New("-buildmode=pie")
	default:
		return fmt.Errorf("an executable of ELF type %d", kind)
	}
	return checkSegments(f, int64(le.Uint64(head[32:])), int64(le.Uint16(head[54:])), int64(le.Uint16(head[56:])))
}

// checkSegments looks through count program headers of size bytes at offset.
func checkSegments(f io.ReaderAt, offset, size, count int64) error {
	kind := make([]byte, 4)
	for i := range count {
		if _, err := f.ReadAt(kind, offset+i*size); err != nil {
			return fmt.Errorf("an unreadable executable (%w)", err)
		}
		if binary.LittleEndian.Uint32(kind) == elfInterp {
			return errors.New("a dynamic linker")
		}
	}
	return nil
}

// addressTop gives the end of the highest mapping of this process that the
// kernel lets it unmap.
func addressTop() (uintptr, error) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return 0, fmt.Errorf("cannot find the address space's end: %w", err)
	}
	defer f.Close()
	var top uintptr
	for sc := bufio.NewScanner(f); sc.Scan(); {
		_, rest, _ := strings.Cut(sc.Text(), "-")
		end, _, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseUint(end, 16, 64)
		if err == nil && n < 1<<56 && !strings.HasSuffix(rest, "[vsyscall]") {
			top = max(top, uintptr(n))
		}
	}
	if top == 0 {
		return 0, errors.New("cannot find the address space's end: /proc/self/maps is empty")
	}
	return top, nil
}
