package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

// listen answers every connection to a Unix socket with one line.
func listen(args []string) error {
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	if err := os.Chmod(args[0], 0o666); err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, "hello")
			c.Close()
		}
	}()
	if err := tell("READY=1"); err != nil {
		return err
	}
	return wait()
}

// dial prints what a Unix socket says.
func dial(args []string) error {
	c, err := net.Dial("unix", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(os.Stdout, c)
	return err
}

// datagrams prints what is sent to a Unix socket, quoted.
func datagrams(args []string) error {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: args[0], Net: "unixgram"})
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			fmt.Printf("%q\n", buf[:n])
		}
	}()
	if err := tell("READY=1"); err != nil {
		return err
	}
	return wait()
}
