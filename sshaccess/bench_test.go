package sshaccess_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"teleport/sshclient"
)

// BenchmarkSession is one command over a new connection, both ends in this
// process. The reported CPU is that of both ends, the command's own apart.
func BenchmarkSession(b *testing.B) {
	w := newWorld(b)
	_, s := w.user("alice", "root")
	cpu := func() int64 {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := cpu()
	for b.Loop() {
		c, err := w.client("root", s)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Run(b.Context(), sshclient.Command{Line: "true"}); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N)/1e6, "cpu-ms/session")
}

// BenchmarkIdle is what an idle session holds here, the clients being processes
// of their own.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b)
	key, _ := w.user("alice", "root")
	const n = 40
	before := resident()
	var clients []*exec.Cmd
	for range n {
		cmd := exec.Command("ssh", append(append([]string{"-tt"}, w.options(key)...), "root@127.0.0.1", "exec cat")...)
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		defer in.Close()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		clients = append(clients, cmd)
	}
	for w.log.count("session.start") < n {
		runtime.Gosched()
	}
	debug.FreeOSMemory()
	held := float64(resident()-before) / n
	for b.Loop() {
		runtime.KeepAlive(clients)
	}
	b.ReportMetric(held, "KiB/session")
	for _, c := range clients {
		c.Process.Kill()
		c.Wait()
	}
}

// resident is this process's RSS in KiB.
func resident() int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	kib := 0
	for line := range bytes.Lines(text) {
		if rest, ok := strings.CutPrefix(string(line), "VmRSS:"); ok {
			fmt.Sscan(rest, &kib)
		}
	}
	return kib
}
