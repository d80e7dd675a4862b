package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/control"
)

// netServices come up at once, each with a veth, an address and a published port.
const netServices = 200

// streamTime is how long one measurement of throughput lasts, streamRounds how
// often the two are measured, taking turns.
const (
	streamTime   = 2 * time.Second
	streamRounds = 7
)

const (
	wiredName   = "nsinit, default profile and veth, start over its socket"
	keptName    = "nsinit, restart with veth"
	privateName = "nsinit, restart without"
	ownStream   = "nsinit's veth"
	bareStream  = "a hand-made veth"
)

// netResult is what the part about the network has measured.
type netResult struct {
	starts     map[string][]float64 // ns by contender
	restarts   map[string][]float64 // ns
	up, down   map[string]float64   // ns for netServices
	throughput map[string][]float64 // bit/s
}

func newNetResult() *netResult {
	return &netResult{starts: map[string][]float64{}, restarts: map[string][]float64{}, up: map[string]float64{},
		down: map[string]float64{}, throughput: map[string][]float64{}}
}

func measureNetwork(ctx context.Context, l *lab, r *report) error {
	for _, measure := range []func(context.Context, *lab, *report) error{measureWired, measureKept, measureWiredCrowd, measureStreams} {
		if err := measure(ctx, l, r); err != nil {
			return err
		}
	}
	return nil
}

// wiredUnit is a service that is connected and published.
func wiredUnit(kind, program string, port int) string {
	return fmt.Sprintf(`[unit]
start_limit_interval_sec = 0
[service]
type = %q
exec_start = %q
restart = "no"
[network]
mode = "veth"
publish = ["%d:80/tcp"]
`, kind, program, 20000+port)
}

// newWiredInstance is an instance whose machine is a network namespace of its own.
func newWiredInstance(l *lab, name string, units map[string]string) (*instance, error) {
	i, err := newInstance(l, name, units)
	if err != nil {
		return nil, err
	}
	i.own = true
	i.thread, err = newThread(unix.CLONE_NEWNET, func() error {
		return exec.Command("ip", "link", "set", "lo", "up").Run()
	})
	return i, err
}

// measureWired is the time from a request to a connected service's first
// instruction. Each start of nsinit's is the first of its unit.
func measureWired(ctx context.Context, l *lab, r *report) (err error) {
	units := map[string]string{}
	for i := range l.runs + 1 {
		units[unitName(i)] = wiredUnit("oneshot", l.probe, i)
	}
	own, err := newWiredInstance(l, "wired", units)
	if err != nil {
		r.missing(wiredName, err)
		return nil
	}
	if err := own.up(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.stop()) }()
	starts := map[string]func(context.Context, int) (requested, first int64, err error){wiredName: own.firstStart}
	for _, peer := range wiredPeers() {
		defer func() { err = errors.Join(err, peer.close()) }()
		if err := peer.setup(l, l.probe, 1); err != nil {
			r.missing(peer.name(), err)
			continue
		}
		starts[peer.name()] = func(ctx context.Context, _ int) (int64, int64, error) { return peer.start(ctx, 0) }
	}
	return takeTurns(ctx, l.runs+1, starts, r.network.starts)
}

// takeTurns calls all n times, in an order drawn anew for each round; the first
// round is not counted.
func takeTurns(ctx context.Context, n int, calls map[string]func(context.Context, int) (int64, int64, error), samples map[string][]float64) error {
	names := sortedKeys(calls)
	random := rand.New(rand.NewPCG(5, 6))
	for i := range n {
		random.Shuffle(len(names), func(a, b int) { names[a], names[b] = names[b], names[a] })
		for _, name := range names {
			if _, err := awaitQuiet(ctx); err != nil {
				return err
			}
			requested, first, err := calls[name](ctx, i)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if i > 0 {
				samples[name] = append(samples[name], float64(first-requested))
			}
		}
	}
	return nil
}

// firstStart starts the unit of that number over the socket.
func (i *instance) firstStart(ctx context.Context, number int) (requested, first int64, err error) {
	unit := unitName(number)
	requested = monotonic()
	if err := askSocket(ctx, i, control.VerbStart, unit); err != nil {
		return 0, 0, err
	}
	all, err := i.awaitLogged(ctx, unit, 0)
	if err != nil {
		return 0, 0, err
	}
	return requested, all[0], nil
}

// measureKept is the restart of a running service with a kept link and without any.
func measureKept(ctx context.Context, l *lab, r *report) (err error) {
	plain := fmt.Sprintf("[unit]\nstart_limit_interval_sec = 0\n[service]\nexec_start = %q\n", l.hold)
	own, err := newWiredInstance(l, "kept", map[string]string{"plain": plain, "wired": wiredUnit("simple", l.hold, 0)})
	if err != nil {
		r.missing(keptName, err)
		return nil
	}
	if err := own.up(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.stop()) }()
	seen := map[string]int{}
	restart := func(unit string) func(context.Context, int) (int64, int64, error) {
		return func(ctx context.Context, _ int) (int64, int64, error) {
			requested := monotonic()
			if err := askSocket(ctx, own, control.VerbRestart, unit); err != nil {
				return 0, 0, err
			}
			all, err := own.awaitLogged(ctx, unit, seen[unit])
			if err != nil {
				return 0, 0, err
			}
			seen[unit] = len(all)
			return requested, all[len(all)-1], nil
		}
	}
	calls := map[string]func(context.Context, int) (int64, int64, error){keptName: restart("wired"), privateName: restart("plain")}
	return takeTurns(ctx, l.runs+1, calls, r.network.restarts)
}

// measureWiredCrowd brings netServices up and down again. A peer has no
// supervisor: it starts and ends them one after the other.
func measureWiredCrowd(ctx context.Context, l *lab, r *report) (err error) {
	units := map[string]string{}
	for i := range netServices {
		units[unitName(i)] = wiredUnit("simple", l.hold, i) + "[install]\nwanted_by = \"default\"\n"
	}
	own, err := newWiredInstance(l, "many", units)
	if err != nil {
		r.missing(nsinitName, err)
		return nil
	}
	c := &nsinitCrowd{instance: own, n: netServices, seen: make([]int, netServices)}
	requested, err := own.start()
	if err != nil {
		return err
	}
	firsts, err := c.firsts(ctx, netServices)
	if err != nil {
		return errors.Join(err, own.stop())
	}
	r.network.up[nsinitName] = float64(latest(firsts) - requested)
	begin := monotonic()
	if err := own.stop(); err != nil {
		return err
	}
	r.network.down[nsinitName] = float64(monotonic() - begin)
	for _, peer := range wiredPeers() {
		if r.isMissing(peer.name()) {
			continue
		}
		if err := measurePeerCrowd(ctx, l, r, peer); err != nil {
			return fmt.Errorf("%s: %w", peer.name(), err)
		}
	}
	return nil
}

func measurePeerCrowd(ctx context.Context, l *lab, r *report, peer *wired) (err error) {
	defer func() { err = errors.Join(err, peer.close()) }()
	if err := peer.setup(l, l.hold, netServices); err != nil {
		return err
	}
	begin := monotonic()
	for i := range netServices {
		if err := peer.detached(ctx, i); err != nil {
			return err
		}
	}
	var last int64
	for range netServices {
		first, err := peer.out.next(ctx)
		if err != nil {
			return err
		}
		last = max(last, first)
	}
	r.network.up[peer.name()] = float64(last - begin)
	begin = monotonic()
	for i := range netServices {
		if err := peer.end(ctx, i); err != nil {
			return err
		}
	}
	r.network.down[peer.name()] = float64(monotonic() - begin)
	return nil
}

func latest(all []int64) (last int64) {
	for _, ns := range all {
		last = max(last, ns)
	}
	return last
}

// streamAddress is the service's in both, the hosts' ends have .1 of the net.
const streamAddress = "10.97.0.9"

// measureStreams compares what iperf3 sends from the host into a service through
// its bridge and the instance's rules with what goes through a veth whose other
// end is in a bare namespace.
func measureStreams(ctx context.Context, l *lab, r *report) (err error) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		r.missing("throughput", err)
		return nil
	}
	text := wiredUnit("simple", "/usr/bin/iperf3 -s", 0)
	own, err := newWiredInstance(l, "stream", map[string]string{"iperf": text + fmt.Sprintf("address = \"%s/24\"\n[install]\nwanted_by = \"default\"\n", streamAddress)})
	if err != nil {
		r.missing(ownStream, err)
		return nil
	}
	if err := os.WriteFile(filepath.Join(own.dir, "nsinit.toml"), []byte("[bridge.default]\npool = \"10.97.0.0/24\"\n"), 0o644); err != nil {
		return err
	}
	if _, err := own.start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.stop()) }()
	bare, server, err := bareVeth(ctx)
	if err != nil {
		return err
	}
	defer func() {
		server.Process.Kill()
		server.Wait()
		bare.end()
	}()
	for range streamRounds {
		for _, side := range []struct {
			name   string
			thread *thread
		}{{ownStream, own.thread}, {bareStream, bare}} {
			var rate float64
			side.thread.do(func() { rate, err = stream(ctx) })
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			r.network.throughput[side.name] = append(r.network.throughput[side.name], rate)
		}
	}
	return nil
}

// bareVeth connects a new namespace with one in which an iperf3 serves.
func bareVeth(ctx context.Context) (t *thread, server *exec.Cmd, err error) {
	far, err := newThread(unix.CLONE_NEWNET, func() error { return nil })
	if err != nil {
		return nil, nil, err
	}
	defer far.end() // the server keeps the namespace
	far.do(func() {
		server = exec.Command("iperf3", "-s")
		server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		err = server.Start()
	})
	if err != nil {
		return nil, nil, err
	}
	script := fmt.Sprintf(`ip link set lo up
ip link add near type veth peer name eth0 netns %[1]d
ip addr add 10.97.0.1/24 dev near
ip link set near up
nsenter --net=/proc/%[1]d/ns/net sh -ec 'ip link set lo up; ip addr add %[2]s/24 dev eth0; ip link set eth0 up'`, server.Process.Pid, streamAddress)
	t, err = newThread(unix.CLONE_NEWNET, func() error {
		if out, err := exec.CommandContext(ctx, "sh", "-ec", script).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot make a veth: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		server.Process.Kill()
		server.Wait()
	}
	return t, server, err
}

// stream is the rate, in bit/s, at which iperf3 sent for streamTime. The server
// may not listen yet, or not be rid of the client before.
func stream(ctx context.Context) (float64, error) {
	deadline := time.Now().Add(patience)
	for {
		out, err := exec.CommandContext(ctx, "iperf3", "-c", streamAddress, "-J", "-t", fmt.Sprint(streamTime.Seconds())).Output()
		var result struct {
			End struct {
				Received struct {
					Rate float64 `json:"bits_per_second"`
				} `json:"sum_received"`
			} `json:"end"`
			Error string `json:"error"`
		}
		if e := json.Unmarshal(out, &result); e == nil && err == nil && result.End.Received.Rate > 0 {
			return result.End.Received.Rate, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return 0, fmt.Errorf("iperf3: %w", errors.Join(err, errors.New(strings.TrimSpace(result.Error))))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
