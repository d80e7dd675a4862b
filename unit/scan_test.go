package unit

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

func TestScanPositions(t *testing.T) {
	src := "\ufeff# [no.table]\n[a.\"b c\"] # x\nk = 'v' # c\n  d.e = [1,\n  \"x]\", # ]\n  [\"y\"]]\nm = \"\"\"a\n\"b\\\"\"\"\"\nt = { x = 1, 'y' = { z = 2 } }\n[[l]]\nn = 1\n[[l]]\nn = 2\n"
	d, errs := readDocument("f", src)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	bc := d.root.field("a").field("b c")
	for _, tt := range []struct {
		name      string
		n         *node
		line, col int
		text      string
	}{
		{"k", bc.field("k"), 3, 5, "'v'"},
		{"d.e", bc.field("d").field("e"), 4, 9, "[1,\n  \"x]\", # ]\n  [\"y\"]]"},
		{"d.e[1]", bc.field("d").field("e").elem(1), 5, 3, `"x]"`},
		{"d.e[2][0]", bc.field("d").field("e").elem(2).elem(0), 6, 4, `"y"`},
		{"m", bc.field("m"), 7, 5, "\"\"\"a\n\"b\\\"\"\"\""},
		{"t.y.z", bc.field("t").field("y").field("z"), 9, 26, "2"},
		{"l[1].n", d.root.field("l").elem(1).field("n"), 13, 5, "2"},
	} {
		if tt.n == nil {
			t.Errorf("%s: not found", tt.name)
			continue
		}
		e := d.atValue(tt.n)
		if e.Line != tt.line || e.Col != tt.col || src[tt.n.off:tt.n.end] != tt.text {
			t.Errorf("%s at %d:%d %q; want %d:%d %q", tt.name, e.Line, e.Col, src[tt.n.off:tt.n.end], tt.line, tt.col, tt.text)
		}
	}
}

// TestBombs: what overflows the parser's stack, or takes it minutes, is
// refused in no time and next to no memory.
func TestBombs(t *testing.T) {
	const deep = 100_000
	for name, src := range map[string]string{
		"size":          strings.Repeat("# x\n", maxFileSize/4+1),
		"arrays":        "a = " + strings.Repeat("[", deep),
		"closed arrays": "a = " + strings.Repeat("[", deep) + strings.Repeat("]", deep),
		"inline tables": "a = " + strings.Repeat("{a=", deep/2),
		"dotted key":    strings.Repeat("a.", deep) + "a = 1",
		"header":        "[" + strings.Repeat("a.", deep) + "a]",
		"inline dotted": "a = { " + strings.Repeat("a.", deep) + "a = 1 }",
		"hidden":        "a = \"\\\"\" \nb = '''x''' \nc = \"\"\"\\\"\"\"\"\nd = " + strings.Repeat("[", deep),
		"after a word":  "a = b [\nc = " + strings.Repeat("[", deep),
		"after garbage": "a = = " + strings.Repeat("[", deep),
		"in a string":   "a = \"" + strings.Repeat("[", 200) + "\n" + strings.Repeat("[", deep),
		"mixed":         "[a.b.c.d]\ne.f.g.h = [[[[[[[[[1]]]]]]]]]",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := cpuTime(t)
			_, errs := readDocument("f", src)
			runtime.ReadMemStats(&after)
			if len(errs) == 0 {
				t.Error("accepted")
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("used %d MiB", used>>20)
			}
			if took := cpuTime(t) - start; took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestManyNames: what it costs to load a file full of names, or to refuse it,
// grows with their number and no faster.
func TestManyNames(t *testing.T) {
	for name, text := range map[string]func(names, words string) string{
		"requires":     func(n, _ string) string { return "[unit]\nrequires = [" + n + "]\n" + simple },
		"after before": func(n, _ string) string { return "[unit]\nafter = [" + n + "]\nbefore = [" + n + "]\n" + simple },
		"wants":        func(n, _ string) string { return "[unit]\nwants = [" + n + "]\n" },
		"wanted_by":    func(n, _ string) string { return simple + "[install]\nwanted_by = [" + n + "]\nalias = [" + n + "]\n" },
		"environment":  func(_, w string) string { return simple + "environment = '" + w + "'\n" },
		"keys":         func(n, _ string) string { return "[service]\n" + strings.ReplaceAll(n, ",", " = 1\n") },
	} {
		checkGrowth(t, name, 1500, func(size int) func() {
			root := tree(t, manyNames(size, text))
			return func() { loadTree(root) }
		})
	}
}

// manyNames is a unit with so many names, made of them by text, among others.
func manyNames(size int, text func(names, words string) string) map[string]string {
	var names, words strings.Builder
	for i := range size {
		fmt.Fprintf(&names, "'u%d',", i)
		fmt.Fprintf(&words, "A%d=x ", i)
	}
	files := map[string]string{"etc/a.toml": text(names.String(), words.String())}
	for i := range 200 {
		files[fmt.Sprintf("etc/s%d.toml", i)] = simple
	}
	return files
}

func TestDepthCapIsExact(t *testing.T) {
	for depth, good := range map[int]bool{maxDepth: true, maxDepth + 1: false} {
		src := "a = " + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) // the key is a level
		_, errs := readDocument("f", src)
		if (len(errs) == 0) != good {
			t.Errorf("depth %d: %v", depth, errs)
		}
	}
}

// sameShape fails unless every value of the parser has a node.
func sameShape(t *testing.T, path string, v any, n *node) {
	t.Helper()
	if n == nil {
		t.Fatalf("no place for %s", path)
	}
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if !strings.ContainsAny(key, "\\\"\x7f") && strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > 0x7e }) < 0 {
				sameShape(t, path+"."+key, value, n.field(key))
			}
		}
	case []any:
		if len(v) != len(n.elems) {
			t.Fatalf("%s has %d elements, %d places", path, len(v), len(n.elems))
		}
		for i, value := range v {
			sameShape(t, path+"[]", value, n.elem(i))
		}
	case []map[string]any:
		sameShape(t, path, anySlice(v), n)
	}
}

// FuzzScan: the scanner and the parser see the same document.
func FuzzScan(f *testing.F) {
	f.Add("a.b = [1, {c = 'd'}]\n[x]\ny = \"\"\"z\"\"\"\n[[q.r]]\n")
	f.Add("a = 1979-05-27 07:32:00Z\nb = +inf\nc = { }\n")
	f.Add("\"a\" = 1\n'b' = {x.y=1,\n z=2,}\n")
	f.Fuzz(func(t *testing.T, src string) {
		d, errs := readDocument("f", src)
		if len(errs) == 0 {
			sameShape(t, "", d.values, d.root)
			return
		}
		if len(src) > 1000 || d.root == nil || strings.Count(src, ".")+strings.Count(src, "[")+strings.Count(src, "{") > maxDepth-1 {
			return
		}
		var v map[string]any
		if _, err := toml.Decode(src, &v); err == nil {
			t.Fatalf("refused what the parser accepts: %v", errs)
		}
	})
}
