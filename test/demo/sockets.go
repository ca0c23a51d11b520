package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tcpListen is the state of a listening socket in /proc/net/tcp.
const tcpListen = "0A"

// listeners returns how many TCP sockets a process listens on. The kernel's
// table has all sockets of the machine; those of the process are found by the
// inodes behind its descriptors.
func listeners(pid int) (int, error) {
	proc := fmt.Sprintf("/proc/%d", pid)
	links, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		return 0, err
	}
	own := map[string]bool{}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil { // one may be closed meanwhile
			own[to] = true
		}
	}
	n := 0
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(filepath.Join(proc, "net", table))
		if os.IsNotExist(err) {
			continue // a machine without IPv6
		}
		if err != nil {
			return 0, err
		}
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == tcpListen && own["socket:["+f[9]+"]"] {
				n++
			}
		}
	}
	return n, nil
}
