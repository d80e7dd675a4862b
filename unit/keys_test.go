package unit

import (
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestIrregularNames(t *testing.T) {
	names := map[string]string{
		"service.pid_file": "PIDFile", "service.umask": "UMask", "service.tty_vhangup": "TTYVHangup",
		"service.limit_nofile": "LimitNOFILE", "security.restrict_suid_sgid": "RestrictSUIDSGID",
		"security.remove_ipc": "RemoveIPC", "unit.condition_ac_power": "ConditionACPower",
		"service.non_blocking": "NonBlocking", "unit.assert_cpus": "AssertCPUs",
		"service.exec_start": "ExecStart", "resources.memory_max": "MemoryMax", "service.oom_policy": "OOMPolicy",
		"service.tty_vt_disallocate": "TTYVTDisallocate", "service.send_sighup": "SendSIGHUP",
		"resources.io_read_iops_max": "IOReadIOPSMax", "service.timer_slack_nsec": "TimerSlackNSec",
		"socket.NAME.bind_ipv6_only": "BindIPv6Only", "service.limit_sigpending": "LimitSIGPENDING",
		"isolation.profile": "", "filesystem.private_run": "", "network.mode": "",
	}
	for id, want := range names {
		k := keyTable().byID[id]
		if k == nil {
			t.Errorf("no key %s", id)
		} else if k.Systemd != want {
			t.Errorf("%s is systemd's %q, want %q", id, k.Systemd, want)
		}
	}
}

// TestNamesAreOneToOne: import and export both need the table.
func TestNamesAreOneToOne(t *testing.T) {
	seen := map[string]string{}
	for _, k := range Keys() {
		if k.Systemd == "" {
			continue
		}
		name := k.Systemd
		if k.Table == "timer" || k.Table == "path" || strings.HasPrefix(k.Table, "socket") {
			name = k.Table + "." + name // sections of their own
		}
		if other := seen[name]; other != "" {
			t.Errorf("%s and %s are both systemd's %s", other, k.ID(), name)
		}
		seen[name] = k.ID()
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	for _, k := range Keys() {
		if k.Doc == "" || k.Type == "" || !strings.HasPrefix(k.Example, k.Name+" = ") {
			t.Errorf("%s: doc %q, type %q, example %q", k.ID(), k.Doc, k.Type, k.Example)
		}
		if !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: doc %q is no sentence", k.ID(), k.Doc)
		}
		if (k.kind.one == nil) == (k.kind.whole == nil) {
			t.Errorf("%s: needs exactly one reader", k.ID())
		}
		if k.Supported && strings.Contains(k.Table, "NAME") && k.Table != linkTable {
			t.Errorf("%s: in force in a table that is not", k.ID())
		}
	}
}

// TestTableIsTotal: every field of a table's struct has a key in force that
// sets it, and every key in force has a field.
func TestTableIsTotal(t *testing.T) {
	set := map[string]bool{"Network.Unit": true, "Network.Path": true, "Network.Links": true, "Network.Name": true, "Link.Name": true, "Unit.Conditions": true, "Unit.Asserts": true}
	b := &builder{unit: &Unit{}}
	for _, k := range keyTable().all {
		if !k.Supported || k.fieldName() == "-" {
			continue
		}
		if !b.field(k).IsValid() {
			t.Errorf("%s has no field %s", k.ID(), k.fieldName())
		}
		table := camelCase(k.Table)
		if k.Table == linkTable {
			table = "Link"
		}
		set[table+"."+k.fieldName()] = true
	}
	for _, table := range []any{Service{}, Isolation{}, Filesystem{}, Network{}, Link{}, Resources{}, Security{}, Log{}, Install{}} {
		typ := reflect.TypeOf(table)
		for _, f := range reflect.VisibleFields(typ) {
			if name := typ.Name() + "." + f.Name; !set[name] && !f.Anonymous {
				t.Errorf("no key sets %s", name)
			}
		}
	}
}

// TestExamplesDecode writes each key's example into a unit: it must be
// accepted, and change the field that bears its name from its default.
func TestExamplesDecode(t *testing.T) {
	for _, k := range keyTable().all {
		if !k.Supported {
			continue
		}
		t.Run(k.ID(), func(t *testing.T) {
			b := exampleBuilder(t, k)
			b.decode(k)
			if len(b.errs) > 0 {
				t.Fatalf("example %s: %v", k.Example, b.errs)
			}
			if k.fieldName() == "-" {
				return
			}
			got := b.field(k)
			plain := &builder{unit: &Unit{Isolation: Isolation{Profile: ProfileStrict}}, context: b.context}
			plain.decode(k)
			same := reflect.DeepEqual(got.Interface(), plain.field(k).Interface())
			if same && k.Name != "activation" && k.Name != "namespaces" { // which have one value, and a base of their own
				t.Errorf("example %s leaves %s at %v", k.Example, k.fieldName(), got.Interface())
			}
		})
	}
}

func exampleBuilder(t *testing.T, k *Key) *builder {
	t.Helper()
	ctx := *testMachine()
	ctx.Name, ctx.Prefix = "web", "web"
	b := &builder{unit: &Unit{Name: "web", Isolation: Isolation{Profile: ProfileStrict}}, says: settings{}, context: ctx, service: true}
	doc, errs := readDocument("web.toml", "["+k.Table+"]\n"+k.Example+"\n")
	says, more := doc.settings()
	if errs = append(errs, more...); len(errs) > 0 {
		t.Fatalf("example %s: %v", k.Example, errs)
	}
	b.says.merge(says)
	return b
}

func TestExamplesOfLaterKeysAreTOML(t *testing.T) {
	for _, k := range Keys() {
		var v map[string]any
		if _, err := toml.Decode(k.Example, &v); err != nil {
			t.Errorf("%s: %v", k.ID(), err)
		}
	}
}

// TestLaterKeysAreRefused: nothing is accepted in silence.
func TestLaterKeysAreRefused(t *testing.T) {
	for _, k := range Keys() {
		if k.Supported {
			continue
		}
		table := strings.Replace(k.Table, "NAME", "x", 1)
		doc, errs := readDocument("x.toml", "["+table+"]\n"+k.Example+"\n")
		_, more := doc.settings()
		errs = append(errs, more...)
		if len(errs) != 1 || !strings.Contains(errs[0].Msg, "not supported yet") {
			t.Errorf("%s: %v", k.ID(), errs)
		}
	}
}

func TestLookupKey(t *testing.T) {
	for name, want := range map[string]string{
		"exec_start": "service.exec_start", "ExecStart": "service.exec_start", "ExecStart=": "service.exec_start",
		"service.exec_start": "service.exec_start", "LimitNOFILE": "service.limit_nofile",
	} {
		got := LookupKey(name)
		if len(got) != 1 || got[0].ID() != want {
			t.Errorf("LookupKey(%q) = %v; want %s", name, got, want)
		}
	}
	if got := LookupKey("directory_not_empty"); len(got) != 1 || got[0].Table != "path" {
		t.Errorf("LookupKey(directory_not_empty) = %v", got)
	}
	if got := LookupKey("nonsense"); got != nil {
		t.Errorf("LookupKey(nonsense) = %v", got)
	}
}

func TestNearest(t *testing.T) {
	names := keyTable().names("service")
	for typo, want := range map[string]string{
		"exec_startt": "exec_start", "exce_start": "exec_start", "restrat": "restart", "timeout_stop": "timeout_sec",
		"x": "", "completely_different": "",
	} {
		if got := nearest(typo, names); got != want {
			t.Errorf("nearest(%q) = %q; want %q", typo, got, want)
		}
	}
}
