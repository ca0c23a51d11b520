package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// describe says where and when, and what is compared.
func (b *bench) describe() {
	s := b.table.section("Where", "what", "value")
	s.row("date", time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	s.row("machine", fmt.Sprintf("%s, %d cores, %s of memory", fieldOf("/proc/cpuinfo", "model name"), runtime.NumCPU(), fieldOf("/proc/meminfo", "MemTotal")))
	s.row("kernel", strings.TrimSpace(contents("/proc/sys/kernel/osrelease")))
	s.row("load average at the start", loadAverage())
	s.row("go", runtime.Version())
	if out, err := exec.Command("ssh", "-V").CombinedOutput(); err == nil {
		s.row("peer", strings.TrimSpace(string(out))+", aes128-gcm@openssh.com, ed25519 keys")
	}
	for _, name := range []string{"teleport", "tsh", "tctl"} {
		if info, err := os.Stat(filepath.Join(b.bin, name)); err == nil {
			s.row("size of "+name, fmt.Sprintf("%.1f MB", float64(info.Size())/1e6))
		}
	}
}

func contents(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

// fieldOf returns the value of the first line "name: value".
func fieldOf(path, name string) string {
	for line := range strings.SplitSeq(contents(path), "\n") {
		k, v, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "?"
}

func loadAverage() string {
	f := strings.Fields(contents("/proc/loadavg"))
	if len(f) < 3 {
		return "?"
	}
	return strings.Join(f[:3], " ")
}
