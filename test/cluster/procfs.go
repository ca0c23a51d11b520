package cluster

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stat is what /proc says of a process.
type stat struct {
	pid, parent int
	state       string
	started     string // clock ticks since boot; with pid it names a process for ever
	name        string
}

func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, false
	}
	// pid (name) state parent …: the name may hold anything, so cut at its last bracket.
	text := string(b)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return stat{}, false
	}
	f := strings.Fields(text[end+1:])
	if len(f) < 20 {
		return stat{}, false
	}
	parent, _ := strconv.Atoi(f[1])
	return stat{pid: pid, parent: parent, state: f[0], started: f[19], name: text[open+1 : end]}, true
}

// identify is what tells a process from a later one that has its id: ids come round
// within minutes where many programs are run.
func identify(pid int) stat {
	s, _ := readStat(pid) // of one that has ended there is nothing to tell
	s.pid = pid
	return s
}

// alive reports whether the process still runs; one that ended and was not yet waited
// for does not.
func (s stat) alive() bool {
	now, ok := readStat(s.pid)
	return ok && now.started == s.started && now.state != "Z" && now.state != "X"
}

func allProcesses() []stat {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []stat
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if s, ok := readStat(pid); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// Descendants are the processes below a process, itself not included.
func descendants(root int) []stat {
	children := map[int][]stat{}
	for _, s := range allProcesses() {
		children[s.parent] = append(children[s.parent], s)
	}
	var out []stat
	for todo := []int{root}; len(todo) > 0; todo = todo[1:] {
		out = append(out, children[todo[0]]...)
		for _, s := range children[todo[0]] {
			todo = append(todo, s.pid)
		}
	}
	return out
}
