package main

import (
	"slices"
	"testing"
)

func TestLiveBytes(t *testing.T) {
	n, err := liveBytes("# HELP x\ngo_memstats_heap_inuse_bytes 1.5e+06\nother 7\ngo_memstats_stack_inuse_bytes 500000\n")
	if err != nil || n != 2_000_000 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := liveBytes("go_memstats_heap_inuse_bytes 1\n"); err == nil {
		t.Error("half of the numbers pass")
	}
}

func TestSteps(t *testing.T) {
	if got := steps(110); !slices.Equal(got, []int{10, 35, 60, 85, 110}) {
		t.Errorf("%v", got)
	}
	if got := steps(0); slices.Compact(got)[0] != 10 || len(got) != 5 {
		t.Errorf("%v", got)
	}
}

func TestTurn(t *testing.T) {
	seen := [3]int{}
	for round := range 3 {
		seen[turn(3, round)[0]]++
	}
	if seen != [3]int{1, 1, 1} {
		t.Errorf("first places %v", seen)
	}
}
