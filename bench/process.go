package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of /proc/PID/stat on Linux: USER_HZ is 100 on every
// architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// usage is the processor time of a process: its own, and that of the children
// that it has waited for.
type usage struct{ own, children time.Duration }

func (u usage) total() time.Duration { return u.own + u.children }
func (u usage) minus(before usage) usage {
	return usage{u.own - before.own, u.children - before.children}
}

func perRun(d time.Duration, n int) string { return fmt.Sprintf("%.1f", millis(d)/float64(max(n, 1))) }

// cpu reads the processor time of a process.
func cpu(pid int) (usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	return parseStat(string(b))
}

// parseStat reads utime, stime, cutime and cstime, fields 14 to 17 of proc(5).
// The second field, the name in parentheses, may hold anything.
func parseStat(s string) (usage, error) {
	end := strings.LastIndexByte(s, ')')
	fields := strings.Fields(s[end+1:])
	if end < 0 || len(fields) < 15 {
		return usage{}, fmt.Errorf("not a line of /proc/PID/stat: %.40q", s)
	}
	var ticks [4]int64
	for i := range ticks {
		n, err := strconv.ParseInt(fields[11+i], 10, 64)
		if err != nil {
			return usage{}, err
		}
		ticks[i] = n
	}
	return usage{time.Duration(ticks[0]+ticks[1]) * clockTick, time.Duration(ticks[2]+ticks[3]) * clockTick}, nil
}

// settle waits until a server has put away the children of sessions that have
// ended: only then are they in its books. It gives up after a while, as a child
// that stays costs nothing any more.
func (s *server) settle() {
	if s.workers {
		return
	}
	path := fmt.Sprintf("/proc/%d/task", s.pid())
	for range 500 {
		if !hasChildren(path) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func hasChildren(tasks string) bool {
	list, _ := os.ReadDir(tasks)
	for _, t := range list {
		if strings.TrimSpace(contents(filepath.Join(tasks, t.Name(), "children"))) != "" {
			return true
		}
	}
	return false
}

// resident is the memory of a process that is in RAM, in bytes.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseResident(string(b))
}

func parseResident(status string) (int64, error) {
	for line := range strings.SplitSeq(status, "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS in the status of the process")
}

// server is a process that runs until it is stopped.
// Its output goes to a file.
type server struct {
	name    string
	cmd     *exec.Cmd
	log     string
	done    chan struct{}
	workers bool // it does its work in children that stay
}

// usage is what a server has used, with its workers.
func (s *server) usage() (usage, error) {
	sum, err := cpu(s.pid())
	if err != nil || !s.workers {
		return sum, err
	}
	list, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", s.pid()))
	if err != nil {
		return sum, err
	}
	for word := range strings.FieldsSeq(string(list)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return sum, err
		}
		u, err := cpu(pid)
		if err != nil {
			return sum, err
		}
		sum.own += u.own
	}
	return sum, nil
}

// serve starts a server. Stop ends it.
func serve(dir, name string, env []string, argv ...string) (*server, error) {
	s := &server{name: name, cmd: exec.Command(argv[0], argv[1:]...), log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	f, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = f, f
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // how a server ends is of no interest: await says if it ended early
		close(s.done)
	}()
	return s, nil
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop ends the server and waits for it.
func (s *server) stop() {
	if s == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// await calls ready every few milliseconds until it says yes.
func (s *server) await(ctx context.Context, within time.Duration, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-s.done:
			return fmt.Errorf("%s ended before it was ready:\n%s", s.name, s.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready within %s:\n%s", s.name, within, s.tail())
		}
	}
	return nil
}

// tail is the end of the server's output.
func (s *server) tail() []byte {
	b, _ := os.ReadFile(s.log)
	return b[max(0, len(b)-2000):]
}

// output runs a command and returns what it printed, errors with what it said.
func output(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}
