package unit

import (
	"testing"

	"github.com/BurntSushi/toml"
)

// TestPlainValue: what is read without the parser is what the parser reads.
func TestPlainValue(t *testing.T) {
	texts := []string{`0`, `1`, `007`, `-1`, `+1`, `1_000`, `1.5`, `""`, `"a"`, `"a\n"`, `"\u0041"`, `"a`, `"`, `'a'`, `true`, `false`, `True`, `[]`, `"a" "b"`, `"é"`, `99999999999`, "\"a\nb\"", "\"a\tb\"", "\"\x01\""}
	for _, k := range keyTable().all {
		if k.preset != "" {
			texts = append(texts, k.preset)
		}
	}
	plain := 0
	for _, text := range texts {
		v, ok := plainValue(text)
		if !ok {
			continue
		}
		plain++
		var doc map[string]any
		if _, err := toml.Decode("v = "+text, &doc); err != nil || doc["v"] != v {
			t.Errorf("plainValue(%s) = %#v, the parser has %#v (%v)", text, v, doc["v"], err)
		}
	}
	if plain < len(presets())/2 {
		t.Errorf("only %d of %d values are plain", plain, len(texts))
	}
}

// TestPresetsOfTwoUnits: a second unit gets from memory what the first read.
func TestPresetsOfTwoUnits(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/a.toml": simple, "etc/b.toml": simple + "timeout_stop_sec = 5\n", "etc/c.toml": simple + "[isolation]\nprofile = 'host'\n", "etc/d.toml": simple,
	})
	s := loadTree(root)
	get := func(name string) *Unit {
		u, err := s.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	if a, b, d := get("a"), get("b"), get("d"); a.Service.TimeoutStopSec != 90e9 || b.Service.TimeoutStopSec != 5e9 || d.Service.TimeoutStopSec != 90e9 {
		t.Errorf("timeout_stop_sec is %v, %v and %v", a.Service.TimeoutStopSec, b.Service.TimeoutStopSec, d.Service.TimeoutStopSec)
	}
	if a, c, d := get("a"), get("c"), get("d"); !a.Filesystem.PrivateTmp || c.Filesystem.PrivateTmp || !d.Filesystem.PrivateTmp {
		t.Error("the profile of one unit is another's")
	}
}
