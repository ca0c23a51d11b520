package main

import (
	"math"
	"slices"
	"time"
)

// percentile returns the value below which a share p (0..1) of values lies, by
// linear interpolation between neighbours; 0 for no values.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	at := p * float64(len(s)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(s)-1)
	return s[low] + (s[high]-s[low])*(at-float64(low))
}

func median(values []float64) float64 { return percentile(values, 0.5) }

// ratios divides pair by pair; pairs with a zero in them are left out. What was
// measured back to back shared the machine's mood, so the quotient says more
// than the two numbers do.
func ratios(ours, theirs []float64) []float64 {
	var list []float64
	for i := range min(len(ours), len(theirs)) {
		if ours[i] != 0 && theirs[i] != 0 {
			list = append(list, ours[i]/theirs[i])
		}
	}
	return list
}

// slope fits a line through the points by least squares and returns how much y
// grows for each x; 0 when the points do not tell.
func slope(x, y []float64) float64 {
	n := float64(len(x))
	if len(x) != len(y) || len(x) < 2 {
		return 0
	}
	var sx, sy, sxx, sxy float64
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	d := n*sxx - sx*sx
	if d == 0 {
		return 0
	}
	return (n*sxy - sx*sy) / d
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
