package main

import (
	"math"
	"testing"
)

func TestPercentile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		p      float64
		want   float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.95, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{1, 2, 3, 4, 5}, 0.95, 4.8},
		{[]float64{1, 2, 3}, 1, 3},
		{[]float64{1, 2, 3}, 0, 1},
	} {
		if got := percentile(c.values, c.p); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("percentile(%v, %v) = %v, want %v", c.values, c.p, got, c.want)
		}
	}
	values := []float64{3, 1, 2}
	percentile(values, 0.5)
	if values[0] != 3 {
		t.Error("the values were sorted in place, which breaks pairs")
	}
}

func TestRatiosArePaired(t *testing.T) {
	got := ratios([]float64{1, 2, 0, 8}, []float64{2, 4, 5})
	if len(got) != 2 || got[0] != 0.5 || got[1] != 0.5 {
		t.Errorf("%v", got)
	}
}

func TestSlope(t *testing.T) {
	if got := slope([]float64{10, 20, 30}, []float64{105, 205, 305}); math.Abs(got-10) > 1e-9 {
		t.Errorf("slope %v", got)
	}
	for _, x := range [][]float64{nil, {1}, {5, 5}} {
		if got := slope(x, make([]float64, len(x))); got != 0 {
			t.Errorf("slope of %v is %v", x, got)
		}
	}
}
