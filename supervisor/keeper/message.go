package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

const (
	// NameMax is the longest name, in bytes.
	NameMax = 255
	// FDsMax is how many descriptors one name can have: the kernel's limit for
	// one message (SCM_MAX_FD, unix(7)).
	FDsMax = 253
)

// Layout of a message, in the machine's byte order. It is read by managers of
// other versions: fields are only ever added between the name and the end, which
// a reader that does not know them passes over.
//
//	0  magic  8 bytes
//	8  serial uint64, from 1
//	16 count  uint16, of descriptors
//	18 length uint16, of the name
//	20 name
const (
	magic      = 0x314b2d74696e736e // "nsinit-K1" less its first letters, little endian
	headerSize = 20
	messageMax = 1024 // bytes; no version sends more
)

// message is what stands beside the descriptors. Of two with one name the
// higher serial counts; two with one serial are copies of each other.
type message struct {
	serial uint64
	count  int
	name   string
}

func (m message) encode() []byte {
	b := make([]byte, 0, headerSize+len(m.name))
	b = binary.NativeEndian.AppendUint64(b, magic)
	b = binary.NativeEndian.AppendUint64(b, m.serial)
	b = binary.NativeEndian.AppendUint16(b, uint16(m.count))
	b = binary.NativeEndian.AppendUint16(b, uint16(len(m.name)))
	return append(b, m.name...)
}

var errForeign = errors.New("not a message of a keeper")

// decode reads a message, and refuses whatever no encode has made.
func decode(b []byte) (message, error) {
	if len(b) < headerSize || binary.NativeEndian.Uint64(b) != magic {
		return message{}, errForeign
	}
	m := message{serial: binary.NativeEndian.Uint64(b[8:]), count: int(binary.NativeEndian.Uint16(b[16:]))}
	n := int(binary.NativeEndian.Uint16(b[18:]))
	if m.serial == 0 || len(b) < headerSize+n {
		return message{}, errForeign
	}
	m.name = string(b[headerSize : headerSize+n])
	if checkName(m.name) != nil || checkCount(m.count) != nil {
		return message{}, errForeign
	}
	return m, nil
}

func checkName(name string) error {
	if name == "" || len(name) > NameMax || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("cannot keep descriptors under the name %.300q: 1 to %d bytes without control characters are allowed", name, NameMax)
	}
	return nil
}

func checkCount(n int) error {
	if n < 1 || n > FDsMax {
		return fmt.Errorf("cannot keep %d descriptors under one name: 1 to %d are allowed", n, FDsMax)
	}
	return nil
}
