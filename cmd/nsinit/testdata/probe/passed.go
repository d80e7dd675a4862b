package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// passed prints what was passed by sd_listen_fds(3): of each descriptor its
// name, its flags and what can be read of it; and writes a line to it.
func passed([]string) error {
	fmt.Printf("LISTEN_FDS=%s LISTEN_PID=%s is %v\n", os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID"),
		os.Getenv("LISTEN_PID") == fmt.Sprint(os.Getpid()))
	for i, name := range strings.Split(os.Getenv("LISTEN_FDNAMES"), ":") {
		if name == "" {
			continue
		}
		f := os.NewFile(uintptr(3+i), name)
		content := make([]byte, 100)
		n, readErr := f.Read(content)
		_, writeErr := f.WriteString("from inside\n")
		fmt.Printf("%d %s reads %q %v, writes %v\n", 3+i, name, content[:n], errno(readErr), errno(writeErr))
	}
	return wait()
}

func errno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}
