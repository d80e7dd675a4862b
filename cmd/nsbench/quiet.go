package main

import (
	"context"
	"os"
	"strings"
	"time"
)

// A start is measured when nothing else wanted a processor for settleTime: the
// kernel takes namespaces apart in the background, and nobody should pay for
// another's, nor for what else the machine does. One that finds no such moment
// is measured all the same after longestWait; the report says how often.
const (
	settleTime  = 15 * time.Millisecond
	lookEvery   = 5 * time.Millisecond
	longestWait = 100 * time.Millisecond
)

// awaitQuiet returns whether there was such a moment.
func awaitQuiet(ctx context.Context) (bool, error) {
	deadline := time.Now().Add(longestWait)
	for calm := time.Duration(0); calm < settleTime; calm += lookEvery {
		if err := wait(ctx, lookEvery); err != nil {
			return false, err
		}
		if othersRun() {
			calm = -lookEvery
		}
		if time.Now().After(deadline) {
			return false, nil
		}
	}
	return true, nil
}

// othersRun says whether a task besides the caller wants a processor now: the
// fourth word of /proc/loadavg is runnable/all (proc_loadavg(5)).
func othersRun() bool {
	text, err := os.ReadFile("/proc/loadavg")
	words := strings.Fields(string(text))
	return err == nil && len(words) > 3 && !strings.HasPrefix(words[3], "1/")
}
