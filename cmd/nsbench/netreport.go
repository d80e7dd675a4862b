package main

import "fmt"

func wiredNames() []string { return []string{wiredName, wiredCNIName, wiredPlainName} }

// networkBars: nsinit is to be faster than either peer, its own links cheap to
// keep and as fast as a bare one.
func (r *report) networkBars(add func(what, promised, measured string, kept bool)) {
	n := r.network
	if own := median(n.starts[wiredName]); own > 0 {
		for _, name := range wiredNames()[1:] {
			if peer := median(n.starts[name]); peer > 0 {
				add(name+" / start with veth", "more than 1.0", ratio(peer, own), peer > own)
			}
		}
	}
	if kept, private := median(n.restarts[keptName]), median(n.restarts[privateName]); kept > 0 && private > 0 {
		add("restart with veth / without", fmt.Sprintf("at most %.1f", mostKeptRestart), ratio(kept, private), kept <= mostKeptRestart*private)
	}
	if own, bare := median(n.throughput[ownStream]), median(n.throughput[bareStream]); own > 0 && bare > 0 {
		add("throughput of the veth / a hand-made one", fmt.Sprintf("at least %.2f", leastThroughput), ratio(own, bare), own >= leastThroughput*bare)
	}
}

func (r *report) networkTables() []table {
	return []table{r.wiredTable(), r.keptTable(), r.wiredCrowdTable(), r.streamTable()}
}

func (r *report) wiredTable() table {
	t := table{title: "Request to a static program with a veth, an address and a published port", unit: "ms",
		head: []string{"contender", "median ms", "p10", "p90", "x nsinit's"},
		note: fmt.Sprintf("%d starts each, taking turns in random order; each is the first of its service. What a bridge and a table need to be there is made before.", r.runs)}
	own := median(r.network.starts[wiredName])
	for _, name := range wiredNames() {
		if ns := r.network.starts[name]; len(ns) > 0 {
			m := median(ns)
			t.rows = append(t.rows, []string{name, millis(m), millis(quantile(ns, 0.1)), millis(quantile(ns, 0.9)), ratio(m, own)})
			t.bars = append(t.bars, bar{name, m / 1e6})
		}
	}
	return t
}

func (r *report) keptTable() table {
	t := table{title: "Restart over the socket, link kept", head: []string{"", "median ms", "p90", "x without"}, note: "Of a running service, its stop included."}
	base := median(r.network.restarts[privateName])
	for _, name := range []string{privateName, keptName} {
		if ns := r.network.restarts[name]; len(ns) > 0 {
			m := median(ns)
			t.rows = append(t.rows, []string{name, millis(m), millis(quantile(ns, 0.9)), ratio(m, base)})
		}
	}
	return t
}

func (r *report) wiredCrowdTable() table {
	t := table{title: fmt.Sprintf("%d services with veth up and down", netServices), unit: "s, up", head: []string{"", "up s", "down s", "up x nsinit's", "down x nsinit's"},
		note: "For nsinit from the start of the manager to the last service's first instruction, and its orderly stop. The peers have no supervisor: one service after the other."}
	for _, name := range []string{nsinitName, wiredCNIName, wiredPlainName} {
		if up := r.network.up[name]; up > 0 {
			down := r.network.down[name]
			t.rows = append(t.rows, []string{name, fmt.Sprintf("%.2f", up/1e9), fmt.Sprintf("%.2f", down/1e9),
				ratio(up, r.network.up[nsinitName]), ratio(down, r.network.down[nsinitName])})
			t.bars = append(t.bars, bar{name, up / 1e9})
		}
	}
	return t
}

func (r *report) streamTable() table {
	t := table{title: "Throughput from the host into a service", head: []string{"", "median Gbit/s", "least", "most"},
		note: fmt.Sprintf("iperf3, one TCP stream, %d times %v each, taking turns.", streamRounds, streamTime)}
	for _, name := range []string{bareStream, ownStream} {
		if all := r.network.throughput[name]; len(all) > 0 {
			t.rows = append(t.rows, []string{name, fmt.Sprintf("%.2f", median(all)/1e9), fmt.Sprintf("%.2f", quantile(all, 0)/1e9), fmt.Sprintf("%.2f", quantile(all, 1)/1e9)})
		}
	}
	return t
}
