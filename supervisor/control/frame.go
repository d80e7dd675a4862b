package control

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// An exec stream is frames in both directions: one byte of kind, four bytes of
// length (big-endian), then that many bytes.
const (
	frameStdin  byte = iota // client: input; an empty one is its end
	frameStdout             // server
	frameStderr             // server
	frameResize             // client: rows, columns, two bytes each
	frameSignal             // client: one byte
	frameExit               // server: ExecExit as JSON, the last frame
	frameWindow             // server: four bytes, how much more input it takes
)

const (
	execProtocol = "nsinit-exec/1"
	frameMax     = 64 << 10
	frameHead    = 5
	// execWindow is how much input may be under way. The client counts, so
	// that a command that does not read its input cannot hold up a signal
	// behind it.
	execWindow = 256 << 10
)

// framer reads and writes frames. Writes may come from several goroutines.
type framer struct {
	r  *bufio.Reader
	in [frameMax]byte

	mu sync.Mutex
	w  io.Writer
}

func newFramer(r *bufio.Reader, w io.Writer) *framer {
	return &framer{r: r, w: w}
}

// read gives the next frame; data is good until the next read.
func (f *framer) read() (kind byte, data []byte, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > frameMax {
		return 0, nil, fmt.Errorf("cannot read frame: %d bytes, at most %d", size, frameMax)
	}
	data = f.in[:size]
	_, err = io.ReadFull(f.r, data)
	return head[0], data, err
}

// write sends data as one frame; it must fit.
func (f *framer) write(kind byte, data []byte) error {
	buf := make([]byte, frameHead+len(data))
	buf[0] = kind
	binary.BigEndian.PutUint32(buf[1:], uint32(len(data)))
	copy(buf[frameHead:], data)
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(buf)
	return err
}

func (f *framer) writeUint32(kind byte, n uint32) error {
	return f.write(kind, binary.BigEndian.AppendUint32(nil, n))
}

func resizeData(rows, columns uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, rows), columns)
}
