package machine_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tools is what all images are made with; TestMain removes it.
type tools struct {
	dir   string // appliance, nsinit, nsctl, agent
	accel string
}

// kernelDir keeps the kernel, which is downloaded once, beside other builds.
const kernelDir = "../../bin/appliance/kernel"

var theTools = sync.OnceValues(func() (*tools, error) {
	dir, err := os.MkdirTemp("", "nsm-")
	if err != nil {
		return nil, err
	}
	k := &tools{dir: dir}
	for name, pkg := range map[string]string{"appliance": "./packaging/appliance", "agent": "./packaging/machine/testdata/agent",
		"nsinit": "./cmd/nsinit", "nsctl": "./cmd/nsctl", "probe": "./cmd/nsinit/testdata/probe"} {
		if err := k.build(name, pkg); err != nil {
			return k, err
		}
	}
	if out, err := exec.Command("../appliance/kernel.sh", kernelDir).CombinedOutput(); err != nil {
		return k, fmt.Errorf("cannot get a kernel: %w\n%s", err, out)
	}
	k.accel = os.Getenv("ACCEL")
	if k.accel == "" {
		out, err := exec.Command("../appliance/accel.sh", k.vmlinuz()).Output()
		if err != nil {
			return k, fmt.Errorf("cannot tell how to run a machine: %w", err)
		}
		k.accel = strings.TrimSpace(string(out))
	}
	return k, nil
})

// build makes one program as it is shipped; nsinit and nsctl are taken from
// NSINIT_BIN_DIR where that is set.
func (k *tools) build(name, pkg string) error {
	file := filepath.Join(k.dir, name)
	if made := os.Getenv("NSINIT_BIN_DIR"); made != "" && strings.HasPrefix(pkg, "./cmd/ns") && name != "probe" {
		return os.Symlink(filepath.Join(made, name), file)
	}
	cmd := exec.Command("go", "build", "-buildmode=exe", "-tags=nethttpomithttp2", "-ldflags=-s -w", "-o", file, pkg)
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

func (k *tools) vmlinuz() string {
	found, _ := filepath.Glob(filepath.Join(kernelDir, "boot/vmlinuz-*"))
	return strings.Join(found, " ")
}

// needTools is what every test begins with.
func needTools(t *testing.T) *tools {
	t.Helper()
	for _, program := range []string{"qemu-system-x86_64", "sqfstar", "zstd", "busybox", "nginx", "redis-server"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: packaging/test.sh machine installs it", err)
		}
	}
	k, err := theTools()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestMain(m *testing.M) {
	code := m.Run()
	if k, _ := theTools(); k != nil {
		os.RemoveAll(k.dir)
	}
	os.Exit(code)
}

// image is what a machine is made from.
type image struct {
	units map[string]string // unit files by name, besides the agent's
	list  []string          // lines for packaging/appliance
	disk  bool              // make root.squashfs too
}

// build makes the image below dir.
func (im image) build(t *testing.T, k *tools, dir string) (out string) {
	t.Helper()
	units := filepath.Join(dir, "units")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(units, 0o755); err != nil {
		t.Fatal(err)
	}
	agent, err := os.ReadFile("testdata/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range im.units {
		write("units/"+name+".toml", text)
	}
	write("units/agent.toml", string(agent))
	write("test.list", strings.Join(append([]string{"units units", "file /usr/lib/machine/agent " + filepath.Join(k.dir, "agent") + " 0755",
		"file /usr/lib/machine/probe " + filepath.Join(k.dir, "probe") + " 0755"}, im.list...), "\n")+"\n")
	args := []string{"-o", filepath.Join(dir, "image"), "-kernel", kernelDir, "-nsinit", filepath.Join(k.dir, "nsinit"), "-nsctl", filepath.Join(k.dir, "nsctl"),
		"-compress", "none", fmt.Sprintf("-squashfs=%v", im.disk), "testdata/machine.list", filepath.Join(dir, "test.list")}
	if said, err := exec.Command(filepath.Join(k.dir, "appliance"), args...).CombinedOutput(); err != nil {
		t.Fatalf("cannot make the image: %v\n%s", err, said)
	}
	return filepath.Join(dir, "image")
}
