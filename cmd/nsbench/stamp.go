package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"
)

var stampPattern = regexp.MustCompile(`first=([0-9a-f]{16})`)

// stamps finds every instant (CLOCK_MONOTONIC, ns) that probes wrote into text,
// in the order of the text.
func stamps(text []byte) []int64 {
	var all []int64
	for _, m := range stampPattern.FindAllSubmatch(text, -1) {
		ns, err := strconv.ParseInt(string(m[1]), 16, 64)
		if err == nil {
			all = append(all, ns)
		}
	}
	return all
}

// stampReader collects the instants that come through a pipe. A probe's line is
// shorter than PIPE_BUF, so the lines of many never mix.
type stampReader struct {
	writer *os.File // what probes get as their standard output
	reader *os.File
	ch     chan int64
}

func newStampReader() (*stampReader, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	s := &stampReader{writer: w, reader: r, ch: make(chan int64, 4096)}
	go s.read(r)
	return s, nil
}

func (s *stampReader) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		for _, ns := range stamps(lines.Bytes()) {
			s.ch <- ns
		}
	}
	close(s.ch)
}

// patience is how long one service may take to appear.
const patience = 30 * time.Second

// next waits for one instant.
func (s *stampReader) next(ctx context.Context) (int64, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case ns, ok := <-s.ch:
		if !ok {
			return 0, fmt.Errorf("cannot read the probe: its output ended")
		}
		return ns, nil
	case <-timer.C:
		return 0, fmt.Errorf("cannot read the probe: nothing for %v", patience)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (s *stampReader) close() {
	s.writer.Close()
	s.reader.Close()
}
