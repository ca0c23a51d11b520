package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	u, err := parseStat("42 (a) b) c) S 1 42 42 0 -1 4194560 100 200 0 0 11 22 3 4 20 0 5 0 1000 1 2")
	if err != nil || u.own != 330*time.Millisecond || u.children != 70*time.Millisecond {
		t.Errorf("%+v, %v", u, err)
	}
	if u.total() != 400*time.Millisecond {
		t.Errorf("total %s", u.total())
	}
	for _, bad := range []string{"", "1 (x) S 1 2", "no parenthesis at all", "1 (x) S 1 1 1 0 -1 1 1 1 0 0 a b c d 1 1"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestOwnProcess(t *testing.T) {
	if _, err := cpu(os.Getpid()); err != nil {
		t.Error(err)
	}
	if n, err := resident(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := parseResident("VmSize: 1 kB\n"); err == nil {
		t.Error("a status without VmRSS passes")
	}
}

func TestServerThatEndsEarlySaysWhy(t *testing.T) {
	s, err := serve(t.TempDir(), "short", nil, "/bin/sh", "-c", "echo the reason; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	err = s.await(context.Background(), time.Minute, func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("%v", err)
	}
}
