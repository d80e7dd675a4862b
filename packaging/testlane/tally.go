package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`. A line of a
// failed build carries ImportPath and Output only.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// key names a test: package path and test name.
type key struct{ pkg, test string }

// tally counts the results of one lane.
type tally struct {
	expected map[key]bool
	out      io.Writer
	output   map[key][]string // what each running test has printed

	failedIn map[string]bool // packages with a failed test

	passed, failed, skipped int
	unexpected              []key
}

func newTally(expected map[key]bool, out io.Writer) *tally {
	return &tally{expected: expected, out: out, output: map[key][]string{}, failedIn: map[string]bool{}}
}

// readSkips reads a file of expected skips, lines of PACKAGE TEST REASON; a
// line that begins with # is a comment. No file named means no skip expected.
func readSkips(path string) (map[key]bool, error) {
	expected := map[key]bool{}
	if path == "" {
		return expected, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the expected skips: %w", err)
	}
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 3 {
			return nil, fmt.Errorf("cannot read %s:%d: want PACKAGE TEST REASON", path, i+1)
		}
		expected[key{words[0], words[1]}] = true
	}
	return expected, nil
}

// read takes events until r ends. A line that is no event is passed on as it is.
func (t *tally) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(t.out, lines.Text())
			continue
		}
		t.add(e)
	}
	return lines.Err()
}

func (t *tally) add(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		io.WriteString(t.out, e.Output)
	case "output":
		t.output[k] = append(t.output[k], e.Output)
	case "pass":
		delete(t.output, k)
		if e.Test != "" {
			t.passed++
		}
	case "fail":
		t.fail(k)
	case "skip":
		if e.Test != "" {
			t.skip(k)
		}
	}
}

// fail counts a test; a package counts only when none of its tests did, because
// it was not built or its process died.
func (t *tally) fail(k key) {
	if k.test != "" || !t.failedIn[k.pkg] {
		t.failed++
	}
	t.failedIn[k.pkg] = true
	fmt.Fprintf(t.out, "FAIL %s %s\n%s", k.pkg, k.test, strings.Join(t.output[k], ""))
	delete(t.output, k)
}

func (t *tally) skip(k key) {
	t.skipped++
	mark := "skip (expected)"
	if !t.expected[k] {
		mark = "skip (UNEXPECTED)"
		t.unexpected = append(t.unexpected, k)
	}
	fmt.Fprintf(t.out, "%s %s %s: %s\n", mark, k.pkg, k.test, reason(t.output[k]))
	delete(t.output, k)
}

// reason is what a skipped test said: its output less the frame that go test
// draws around it.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		said = append(said, line)
	}
	return strings.Join(said, " ")
}

// passes reports whether nothing failed and every skip was expected.
func (t *tally) passes() bool { return t.failed == 0 && len(t.unexpected) == 0 }

func (t *tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped (%d unexpected)",
		t.passed, t.failed, t.skipped, len(t.unexpected))
}
