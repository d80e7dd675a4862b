package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	currentName = "current"
	newName     = "current.new"
	damagedName = "current.damaged"
	tmpSuffix   = ".tmp"
	gzSuffix    = ".gz"
	logSuffix   = ".log"

	// maxFileLine is the longest line of a log file that is believed: a message of
	// MaxLine bytes, each written as \u00xx, and the rest of the record.
	maxFileLine = 6*MaxLine + 4096
)

// rotated is one finished log file.
type rotated struct {
	first uint64 // sequence number of its first record
	path  string
	gz    bool
}

// listRotated finds the finished files of dir, oldest first. Of a file that is
// there both plain and compressed the plain one counts.
func listRotated(dir string) ([]rotated, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list log directory: %w", err)
	}
	var files []rotated
	for _, e := range entries {
		name, gz := strings.CutSuffix(e.Name(), gzSuffix)
		digits, ok := strings.CutSuffix(name, logSuffix)
		first, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || len(digits) != 20 {
			continue
		}
		files = append(files, rotated{first, filepath.Join(dir, e.Name()), gz})
	}
	slices.SortFunc(files, func(a, b rotated) int { return strings.Compare(a.path, b.path) })
	return slices.CompactFunc(files, func(a, b rotated) bool { return a.first == b.first }), nil
}

func rotatedPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, logSuffix))
}

// open opens the file for reading from its start, unpacked.
func (r rotated) open() (io.ReadCloser, error) {
	f, err := os.Open(r.path)
	if err != nil {
		return nil, err
	}
	if !r.gz {
		return f, nil
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot unpack %s: %w", r.path, err)
	}
	return unpacking{z, f}, nil
}

type unpacking struct {
	*gzip.Reader
	file *os.File
}

func (u unpacking) Close() error { return errors.Join(u.Reader.Close(), u.file.Close()) }

// lastLine is the last line of the file that can be read.
func (r rotated) lastLine() (line, bool) {
	if r.gz {
		return r.lastUnpacked()
	}
	f, err := os.Open(r.path)
	if err != nil {
		return line{}, false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return line{}, false
	}
	last, _, ok := lastLine(f, st.Size())
	return last, ok
}

func (r rotated) lastUnpacked() (last line, ok bool) {
	f, err := r.open()
	if err != nil {
		return line{}, false
	}
	defer f.Close()
	var kept []byte
	scan := newLineScanner(f)
	for scan.Scan() {
		kept = append(kept[:0], scan.Bytes()...)
	}
	last, err = parseLine(kept)
	return last, err == nil
}

func newLineScanner(r io.Reader) *bufio.Scanner {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, 64<<10), maxFileLine)
	return scan
}

// tailWindow is how far before its end a file is searched for a good line.
const tailWindow = 3 * maxFileLine

// lastLine finds the last whole, readable line of a file of the given size, and
// where it ends. What a kill in the middle of a write, or a power cut, left behind
// comes after that.
func lastLine(f io.ReaderAt, size int64) (last line, end int64, ok bool) {
	start := max(0, size-tailWindow)
	// Mostly the last few hundred bytes are enough.
	for _, step := range []int64{4096, tailWindow} {
		from := max(start, size-step)
		buf := make([]byte, size-from)
		if n, err := f.ReadAt(buf, from); err != nil && err != io.EOF {
			return line{}, 0, false
		} else {
			buf = buf[:n]
		}
		for {
			nl := bytes.LastIndexByte(buf, '\n')
			if nl < 0 {
				break
			}
			begin := bytes.LastIndexByte(buf[:nl], '\n') + 1
			if l, err := parseLine(buf[begin:nl]); err == nil {
				return l, from + int64(nl) + 1, true
			}
			buf = buf[:nl]
		}
	}
	return line{}, 0, false
}

// compress packs every finished file of dir that is not packed yet. A kill leaves
// the plain file in place.
func compress(dir string) error {
	files, err := listRotated(dir)
	if err != nil {
		return err
	}
	for _, r := range files {
		if r.gz {
			continue
		}
		if err := compressFile(r.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot compress %s: %w", r.path, err)
		}
	}
	return nil
}

func compressFile(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := path + gzSuffix + tmpSuffix
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	defer os.Remove(tmp) // fails once it has been renamed
	z, _ := gzip.NewWriterLevel(out, gzip.BestSpeed)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	if st, err := in.Stat(); err == nil {
		_ = os.Chtimes(tmp, st.ModTime(), st.ModTime()) // Read skips old files by their time
	}
	if err := os.Rename(tmp, path+gzSuffix); err != nil {
		return err
	}
	return os.Remove(path)
}

// prune removes the oldest finished files beyond keep, and what an interrupted
// compression left.
func prune(dir string, keep int) error {
	files, err := listRotated(dir)
	if err != nil {
		return err
	}
	for i := 0; i < len(files)-keep; i++ {
		plain := strings.TrimSuffix(files[i].path, gzSuffix)
		for _, path := range []string{plain, plain + gzSuffix, plain + gzSuffix + tmpSuffix} {
			if rerr := os.Remove(path); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}
	return err
}
