package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// pager shows what is written to it: as it is if that fits on the screen, which
// not every less can tell (busybox's cannot), and else through a command.
type pager struct {
	screen     *os.File
	start      func() (io.WriteCloser, error)
	rows, cols int
	held       bytes.Buffer // what has fitted so far
	used       int          // rows of it
	pipe       io.WriteCloser
}

// newPager holds back what fits on the screen less the line of the prompt. A
// serial line that nobody has told its size is 80 by 24, as terminals were.
func newPager(screen *os.File, start func() (io.WriteCloser, error)) *pager {
	cols, rows, err := term.GetSize(int(screen.Fd()))
	if err != nil || cols <= 0 || rows <= 0 {
		cols, rows = 80, 24
	}
	return &pager{screen: screen, start: start, rows: rows - 1, cols: cols}
}

func (p *pager) Write(b []byte) (int, error) {
	if p.pipe != nil {
		return p.pipe.Write(b)
	}
	p.held.Write(b)
	for line := range bytes.Lines(b) {
		width := utf8.RuneCount(bytes.TrimSuffix(line, []byte{'\n'})) // with colours: a pager a little early is no harm
		p.used += max(0, width-1)/p.cols + 1
	}
	if p.used <= p.rows {
		return len(b), nil
	}
	return len(b), p.overflow()
}

// overflow starts the command. One that cannot be started is none.
func (p *pager) overflow() (err error) {
	if p.pipe, err = p.start(); err != nil {
		p.pipe = p.screen
	}
	_, err = p.held.WriteTo(p.pipe)
	return err
}

// flush shows what has been held back.
func (p *pager) flush() {
	if p.pipe == nil {
		p.held.WriteTo(p.screen)
	} else if p.pipe != p.screen {
		p.pipe.Close()
	}
}

func (a *app) page() { a.pageFrom(false) }

// pageFrom sends what follows through a pager, if there is a terminal and nobody
// objects; atEnd shows the end of it first.
func (a *app) pageFrom(atEnd bool) {
	if a.noPager || a.json || !a.onTerminal() || a.pager != nil {
		return
	}
	words := strings.Fields(a.pagerCommand())
	if len(words) == 0 || words[0] == "cat" {
		return
	}
	a.pager = newPager(a.stdout, func() (io.WriteCloser, error) { return a.startPager(words, atEnd) })
	a.out = a.pager
}

func (a *app) startPager(words []string, atEnd bool) (io.WriteCloser, error) {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = a.stdout, os.Stderr
	less := "LESS=FRSXMK"
	if atEnd {
		less += " +G"
	}
	cmd.Env = append(os.Environ(), less, "LESSSECURE=1")
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a.paging = cmd
	return pipe, nil
}

func (a *app) pagerCommand() string {
	for _, name := range []string{"NSCTL_PAGER", "PAGER"} {
		if p := a.env(name); p != "" {
			return p
		}
	}
	if path, err := exec.LookPath("less"); err == nil {
		return path
	}
	return ""
}

// closePager waits until the user has seen enough.
func (a *app) closePager() {
	if a.pager == nil {
		return
	}
	a.pager.flush()
	if a.paging != nil {
		a.paging.Wait()
	}
	a.pager, a.paging, a.out = nil, nil, a.stdout
}
