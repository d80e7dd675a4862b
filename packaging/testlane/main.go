// Command testlane runs one lane of the tests: a `go test -json` command whose
// events it turns into the output of what failed, the reason of every skip and
// one line of counts.
//
//	testlane -name pure -skips packaging/skips.txt go test -json ./unit
//
// It exits 1 when a test failed, when the command did, or when a test skipped
// that the list of expected skips does not name: a machine that lacks what it
// should have must not look like one that passed.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

func main() {
	name := flag.String("name", "tests", "name of the lane, for the line of counts")
	skips := flag.String("skips", "", "file of expected skips: PACKAGE TEST REASON a line")
	flag.Parse()
	ok, err := run(*name, *skips, flag.Args(), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testlane:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run reports whether the lane passed; err is about the lane itself.
func run(name, skipFile string, argv []string, out io.Writer) (bool, error) {
	if len(argv) == 0 {
		return false, fmt.Errorf("cannot run lane %s: no command", name)
	}
	expected, err := readSkips(skipFile)
	if err != nil {
		return false, err
	}
	start := time.Now()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("cannot read from %s: %w", argv[0], err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("cannot run %s: %w", argv[0], err)
	}
	t := newTally(expected, out)
	if err := t.read(events); err != nil {
		return false, fmt.Errorf("cannot read the events of %s: %w", argv[0], err)
	}
	runErr := cmd.Wait()
	fmt.Fprintf(out, "%s: %s in %.1f s\n", name, t, time.Since(start).Seconds())
	if runErr != nil && t.failed == 0 {
		fmt.Fprintf(out, "%s: %v\n", name, runErr)
	}
	return runErr == nil && t.passes(), nil
}
