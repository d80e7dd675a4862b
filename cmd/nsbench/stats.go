package main

import "slices"

// median is the middle of the samples, 0 when there are none.
func median(samples []float64) float64 { return quantile(samples, 0.5) }

// quantile is the sample below which the share q of all lies, by linear
// interpolation between the two nearest; 0 when there are none.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below == len(sorted)-1 {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}
