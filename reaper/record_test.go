package reaper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// The layout is read by managers of other versions than the reaper's: a change
// of any of these numbers breaks the adoption of running services.
func TestLayoutIsKept(t *testing.T) {
	var r Record
	var p Program
	var e Exit
	for name, c := range map[string][2]uintptr{
		"Record":         {unsafe.Sizeof(r), 2392},
		"Program":        {unsafe.Sizeof(p), 40},
		"Exit":           {unsafe.Sizeof(e), 16},
		"Magic":          {unsafe.Offsetof(r.Magic), 0},
		"Version":        {unsafe.Offsetof(r.Version), 8},
		"Size":           {unsafe.Offsetof(r.Size), 12},
		"Generation":     {unsafe.Offsetof(r.Generation), 16},
		"Seq":            {unsafe.Offsetof(r.Seq), 24},
		"Phase":          {unsafe.Offsetof(r.Phase), 32},
		"Count":          {unsafe.Offsetof(r.Count), 36},
		"SetupStep":      {unsafe.Offsetof(r.SetupStep), 40},
		"SetupErrno":     {unsafe.Offsetof(r.SetupErrno), 44},
		"Exits":          {unsafe.Offsetof(r.Exits), 48},
		"Named":          {unsafe.Offsetof(r.Named), 56},
		"Ready":          {unsafe.Offsetof(r.Ready), 72},
		"Programs":       {unsafe.Offsetof(r.Programs), 80},
		"Ring":           {unsafe.Offsetof(r.Ring), 80 + MaxPrograms*40},
		"SeqEnd":         {unsafe.Offsetof(r.SeqEnd), 80 + MaxPrograms*40 + RingSize*16},
		"FDRecord":       {FDRecord, 3},
		"FDDoorbell":     {FDDoorbell, 4},
		"FDStdout":       {FDStdout, 5},
		"FDStderr":       {FDStderr, 6},
		"FDNotify":       {FDNotify, 7},
		"FDSyslog":       {FDSyslog, 8},
		"FDMain":         {FDMain, 9},
		"RingSize":       {RingSize, 64},
		"MaxPrograms":    {MaxPrograms, 32},
		"NamedOffset":    {NamedOffset, 8192},
		"Program.Status": {unsafe.Offsetof(p.Status), 8},
		"Program.Ended":  {unsafe.Offsetof(p.Ended), 32},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %d; it was %d", name, c[0], c[1])
		}
	}
	if Size > NamedOffset {
		t.Error("the record reaches what the manager writes")
	}
}

func encode(t testing.TB, r Record) []byte {
	t.Helper()
	b, err := binary.Append(nil, binary.NativeEndian, r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	good := Record{Magic: Magic, Version: Version, Seq: 4, SeqEnd: 4, Phase: MainStarted, Count: 1}
	good.Programs[0].PID = 2
	change := func(f func(*Record)) []byte { r := good; f(&r); return encode(t, r) }
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"whole", encode(t, good), ""},
		{"with more behind", append(encode(t, good), 1, 2, 3), ""},
		{"empty", nil, "0 bytes"},
		{"truncated", encode(t, good)[:100], "100 bytes of"},
		{"zeros", make([]byte, Size), "not a record"},
		{"newer", change(func(r *Record) { r.Version = 2 }), "layout 2"},
		{"torn", change(func(r *Record) { r.Seq = 5 }), ErrTorn.Error()},
	} {
		r, err := Decode(c.b)
		switch {
		case c.want == "" && (err != nil || *r != good):
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
	if _, err := Decode(change(func(r *Record) { r.SeqEnd = 9 })); !errors.Is(err, ErrTorn) {
		t.Error("a torn record is not to be read again:", err)
	}
}

// Decode and what reads its result take any bytes.
func TestDecodeAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "bytes"), Size)[:Size]
		binary.NativeEndian.PutUint64(b, Magic)
		binary.NativeEndian.PutUint32(b[8:], Version)
		copy(b[unsafe.Offsetof(Record{}.SeqEnd):], b[unsafe.Offsetof(Record{}.Seq):][:8])
		r, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		r.Main()
		r.ExitOf(rapid.Int32().Draw(t, "pid"))
	})
}

// The newest exit of a number counts, as far back as the ring goes.
func TestExitOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Record
		pids := rapid.SliceOfN(rapid.Int32Range(1, 40), 0, 200).Draw(t, "pids")
		for i, pid := range pids {
			r.Ring[r.Exits%RingSize] = Exit{PID: pid, Status: uint32(i)}
			r.Exits++
		}
		want := map[int32]uint32{}
		for i := max(0, len(pids)-RingSize); i < len(pids); i++ {
			want[pids[i]] = uint32(i)
		}
		for pid := range int32(41) {
			e, ok := r.ExitOf(pid)
			if status, known := want[pid]; known != ok || ok && e.Status != status {
				t.Fatalf("exit of %d: %+v %v; want %d %v", pid, e, ok, status, known)
			}
		}
	})
	r := Record{Named: Exit{PID: 7, Status: 256}}
	if e, ok := r.ExitOf(7); !ok || e.Status != 256 {
		t.Error("the exit of the named process is lost")
	}
}
