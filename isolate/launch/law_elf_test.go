package launch

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// elfFile gives an ELF header of a kind, with one program header of 56 bytes
// for each segment.
func elfFile(kind uint16, segments ...uint32) []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+56*len(segments))
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], kind)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], uint16(len(segments)))
	for i, s := range segments {
		le.PutUint32(b[64+56*i:], s)
	}
	return b
}

func TestCheckELF(t *testing.T) {
	const load, dynamic, phdr = 1, 2, 6
	static := elfFile(elfExec, phdr, load, load)
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"static":           {static, ""},
		"pie":              {elfFile(elfDyn, phdr, load), "-buildmode=pie"},
		"dynamic":          {elfFile(elfExec, phdr, load, dynamic, elfInterp), "a dynamic linker"},
		"object":           {elfFile(1), "ELF type 1"},
		"32 bits":          {append([]byte("\x7fELF\x01\x01"), static[6:]...), "no 64-bit little-endian ELF"},
		"big-endian":       {append([]byte("\x7fELF\x02\x02"), static[6:]...), "no 64-bit little-endian ELF"},
		"script":           {[]byte("#!/bin/sh\n" + strings.Repeat("#", 64)), "no 64-bit little-endian ELF"},
		"empty":            {nil, "unreadable executable (EOF)"},
		"cut in the table": {static[:100], "unreadable executable (EOF)"},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, tt.file, 0o755); err != nil {
			t.Fatal(err)
		}
		err := checkELF(path)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if err := checkELF("/nowhere/exe"); err != nil {
		t.Errorf("without /proc: %v", err)
	}
}
