package main_test

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/nsinit/nsinit/"

// goPackage is one line of `go list`: a package of this module and what its
// files, tests left out, import.
type goPackage struct {
	name    string // relative to the module: "isolate/launch"
	imports []string
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func ownPackages(t *testing.T) []goPackage {
	t.Helper()
	var all []goPackage
	for _, line := range goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		words := strings.Fields(line)
		all = append(all, goPackage{strings.TrimPrefix(words[0], module), words[1:]})
	}
	return all
}

// under reports whether a package is one of the folders or lies below one.
func under(name string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool {
		return name == folder || strings.HasPrefix(name, folder+"/")
	})
}

// TestSiblings keeps data going one way: what describes (unit, isolate, network,
// reaper) knows nothing of what acts, and the wire types know nothing at all.
func TestSiblings(t *testing.T) {
	allowed := map[string][]string{ // folder: the folders of this module that it may import
		"unit":               {"unit"},
		"isolate/launch":     {"isolate", "reaper"},
		"isolate":            {},
		"network":            {"network"},
		"reaper":             {"reaper"},
		"supervisor/control": {"supervisor/control"},
		"supervisor":         {"supervisor", "unit", "isolate", "network", "reaper"},
		"cmd/nsctl":          {"cmd/nsctl", "supervisor/control", "unit", "isolate", "supervisor/compile", "supervisor/condition"},
		"cmd/nsinit":         {"cmd/nsinit", "supervisor", "unit", "isolate", "network", "reaper"},
		"examples":           {},
	}
	for _, p := range ownPackages(t) {
		folder := longestPrefix(p.name, allowed)
		if folder == "" {
			continue
		}
		for _, imported := range p.imports {
			rest, own := strings.CutPrefix(imported, module)
			if own && !under(rest, allowed[folder]...) {
				t.Errorf("%s imports %s; it may import %v", p.name, rest, allowed[folder])
			}
		}
	}
}

func longestPrefix(name string, folders map[string][]string) string {
	longest := ""
	for folder := range folders {
		if under(name, folder) && len(folder) > len(longest) {
			longest = folder
		}
	}
	return longest
}

// TestLibraries keeps each library where it is replaceable: in one folder.
func TestLibraries(t *testing.T) {
	homes := map[string][]string{
		"github.com/BurntSushi/toml":      {"unit"},
		"github.com/rs/zerolog":           {"supervisor", "cmd"},
		"github.com/coreos/go-systemd":    {"unit/systemd", "supervisor", "cmd", "examples"},
		"github.com/spf13/cobra":          {"cmd/nsctl"},
		"golang.org/x/term":               {"cmd/nsctl"},
		"github.com/google/nftables":      {"network/filter"},
		"github.com/mdlayher/netlink":     {"network"},
		"pgregory.net/rapid":              {},
		"github.com/google/go-cmp":        {},
		"github.com/rogpeppe/go-internal": {},
		"github.com/sirupsen/logrus":      {},
	}
	for _, p := range ownPackages(t) {
		for _, imported := range p.imports {
			for library, folders := range homes {
				if under(imported, library) && !under(p.name, folders...) {
					t.Errorf("%s imports %s, which belongs in %v", p.name, imported, folders)
				}
			}
		}
	}
}

// TestControlIsALeaf: a client in another program must not drag anything along.
func TestControlIsALeaf(t *testing.T) {
	for _, name := range goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./supervisor/control") {
		if !under(name, module+"supervisor/control", "golang.org/x/sys") {
			t.Errorf("supervisor/control depends on %s; only the standard library and x/sys are allowed", name)
		}
	}
}

// TestNsctlLinks: nsctl runs without root and acts only through the socket, so
// nothing that could act is in it.
func TestNsctlLinks(t *testing.T) {
	never := []string{module + "isolate/launch", module + "network", module + "reaper", "github.com/rs/zerolog"}
	allowed := []string{"cmd/nsctl", "supervisor/control", "unit", "isolate", "supervisor/compile", "supervisor/condition"}
	for _, name := range goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/nsctl") {
		if under(name, never...) {
			t.Errorf("nsctl links %s", name)
		}
		if rest, own := strings.CutPrefix(name, module); own && !under(rest, allowed...) {
			t.Errorf("nsctl links %s of this module; allowed are %v", rest, allowed)
		}
	}
}

// TestModules names every module in each binary: a dependency more is a decision.
func TestModules(t *testing.T) {
	everywhere := []string{"github.com/nsinit/nsinit", "golang.org/x/sys", "github.com/BurntSushi/toml", "github.com/moby/sys/"}
	for command, modules := range map[string][]string{
		"./cmd/nsinit": {
			"github.com/coreos/go-systemd/v22", "github.com/rs/zerolog", "github.com/mattn/go-colorable", "github.com/mattn/go-isatty",
			"github.com/google/nftables", "github.com/mdlayher/netlink", "github.com/mdlayher/socket", "golang.org/x/net", "golang.org/x/sync",
		},
		"./cmd/nsctl": {"github.com/coreos/go-systemd/v22", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term"},
	} {
		for _, name := range goList(t, "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", command) {
			known := slices.ContainsFunc(append(everywhere, modules...), func(m string) bool {
				return name == m || strings.HasSuffix(m, "/") && strings.HasPrefix(name, m)
			})
			if name != "" && !known {
				t.Errorf("%s links module %s, which is not on its list", command, name)
			}
		}
	}
}

// TestNames: a package is named after what it does.
func TestNames(t *testing.T) {
	for _, p := range ownPackages(t) {
		if slices.Contains([]string{"util", "utils", "common", "types", "helpers", "misc"}, path.Base(p.name)) {
			t.Errorf("package %s has a name that says nothing", p.name)
		}
	}
}
