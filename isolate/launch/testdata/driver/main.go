// Command driver is the least program that can launch. The tests of the build
// law build it in several ways, disassemble it and run it.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
)

func main() {
	if err := launch.CheckBuild(); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	if len(os.Args) == 1 {
		return
	}
	if os.Args[1] == "protect" {
		protect()
		return
	}
	l, err := launch.New(func() {})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	// So that all are linked.
	fmt.Println(l.Launch(&isolate.Program{}, 1, launch.Files{}))
	fmt.Println(l.Join(&isolate.Program{}, launch.JoinFiles{}))
	fmt.Println(l.LaunchKeeper(0, 0, 0))
}

// protect has the binary protected, says what is to be seen of that, and lives
// until it is told to end.
func protect() {
	if err := launch.ProtectBinary(); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	exe, _ := os.Readlink("/proc/self/exe")
	comm, _ := os.ReadFile("/proc/self/comm")
	fmt.Printf("%s|%s|%q|%s\n", exe, strings.TrimSpace(string(comm)), os.Args, os.Getenv("NSINIT_EXECUTED"))
	os.Stdin.Read(make([]byte, 1))
}
