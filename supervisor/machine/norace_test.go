//go:build !race

package machine

const raceFactor = 1
