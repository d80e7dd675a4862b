//go:build race

package machine

const raceFactor = 10 // the race detector's price
