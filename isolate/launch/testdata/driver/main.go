// Command driver is the least program that can launch. The tests of the build
// law build it in several ways, disassemble it and run it.
package main

import (
	"fmt"
	"os"

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
	l, err := launch.New()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	// So that all are linked.
	fmt.Println(l.Launch(&isolate.Program{}, 1, launch.Files{}))
	fmt.Println(l.Join(&isolate.Program{}, launch.JoinFiles{}))
	fmt.Println(l.LaunchKeeper(0, 0, 0))
}
