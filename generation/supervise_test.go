package generation

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"teleport/lifecycle"
)

// superviseGeneration runs a Supervisor over the test binary as a worker.
func superviseGeneration(string) error {
	os.Setenv("GENERATION_AS", "worker")
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	code, err := (&Supervisor{Path: exe, Final: func(code int) bool { return code == 4 }, Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
		Pause: lifecycle.Backoff{Min: time.Millisecond, Max: 2 * time.Millisecond}}).Run()
	fmt.Println("supervisor ends", code, err)
	return err
}

// workGeneration is a program that obeys signals as teleport does: HUP replaces
// it, TERM ends it and the one before it, with the code 7.
func workGeneration(mode string) error {
	if mode == "fail" {
		fmt.Println("cannot start")
		os.Exit(3)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	p, err := Open()
	if err != nil {
		return err
	}
	Notify("READY=1")
	if err := p.Ready(); err != nil {
		return err
	}
	fmt.Println("ready", os.Getpid(), os.Getppid())
	for sig := range signals {
		if sig == syscall.SIGUSR1 {
			os.Exit(4)
		}
		if sig == syscall.SIGTERM {
			p.StopPrevious()
			fmt.Println("told to end", os.Getpid())
			os.Exit(7)
		}
		if _, err := p.Replace(context.Background(), func() error { return nil }); err != nil {
			fmt.Println("kept:", err)
			continue
		}
		if mode == "leave" {
			return nil
		}
		if p.AwaitStop(context.Background()) { // it drains
			fmt.Println("stopped by the next", os.Getpid())
			p.StopPrevious()
		} else {
			fmt.Println("left alone", os.Getpid())
		}
		return nil
	}
	return errors.New("no signal")
}

type supervised struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Scanner
}

func startSupervisor(t *testing.T, mode string) *supervised {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GENERATION_TEST="+mode, "GENERATION_AS=supervisor")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait() // the code was read by the test, where it matters
	})
	return &supervised{t, cmd, bufio.NewScanner(stdout)}
}

// line returns the words after the prefix of the next line that has it.
func (s *supervised) line(prefix string) []string {
	s.t.Helper()
	for s.out.Scan() {
		if rest, ok := strings.CutPrefix(s.out.Text(), prefix); ok {
			return strings.Fields(rest)
		}
	}
	s.t.Fatalf("it ended before it said %q", prefix)
	return nil
}

// ready returns the process id of a generation that is ready, and checks that
// it is the supervisor's own child.
func (s *supervised) ready() int {
	s.t.Helper()
	w := s.line("ready")
	if w[1] != strconv.Itoa(s.cmd.Process.Pid) {
		s.t.Fatalf("the parent of %s is %s, not the supervisor %d", w[0], w[1], s.cmd.Process.Pid)
	}
	pid, err := strconv.Atoi(w[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

func (s *supervised) signal(pid int, sig syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		s.t.Fatal(err)
	}
}

func TestAKilledProcessComesBack(t *testing.T) {
	s := startSupervisor(t, "drain")
	first := s.ready()
	s.signal(first, syscall.SIGKILL)
	if second := s.ready(); second == first {
		t.Error("it is the same process")
	}
	s.signal(s.cmd.Process.Pid, syscall.SIGTERM)
	if got := s.line("supervisor ends"); got[0] != "7" {
		t.Errorf("the exit code is %s", got[0])
	}
}

func TestSignalsGoToTheNewestGeneration(t *testing.T) {
	s := startSupervisor(t, "drain")
	first := s.ready()
	s.signal(s.cmd.Process.Pid, syscall.SIGHUP)
	second := s.ready()
	s.signal(s.cmd.Process.Pid, syscall.SIGHUP)
	third := s.ready()
	if first == second || second == third {
		t.Fatalf("generations %d, %d, %d", first, second, third)
	}
	s.signal(s.cmd.Process.Pid, syscall.SIGTERM)
	// The newest passes the stop back along the line, and all are waited for.
	seen := map[string]bool{}
	for s.out.Scan() {
		seen[s.out.Text()] = true
	}
	for _, want := range []string{fmt.Sprint("told to end ", third), fmt.Sprint("stopped by the next ", second),
		fmt.Sprint("stopped by the next ", first), "supervisor ends 7 <nil>"} {
		if !seen[want] {
			t.Errorf("nobody said %q: %v", want, seen)
		}
	}
}

func TestAGenerationThatLeavesAtOnceIsNotMistakenForADeath(t *testing.T) {
	s := startSupervisor(t, "leave")
	s.ready()
	s.signal(s.cmd.Process.Pid, syscall.SIGHUP)
	second := s.ready()
	s.signal(second, syscall.SIGKILL) // only now is anything started again
	if third := s.ready(); third == second {
		t.Error("it is the same process")
	}
}

func TestAGenerationOutlivesTheDeathOfTheNext(t *testing.T) {
	s := startSupervisor(t, "drain")
	first := s.ready()
	s.signal(s.cmd.Process.Pid, syscall.SIGHUP)
	s.signal(s.ready(), syscall.SIGKILL)
	if got := s.line("left alone"); got[0] != strconv.Itoa(first) {
		t.Errorf("%s was left alone", got)
	}
	s.ready()
}

func TestAProgramThatNeverWorkedIsNotTriedForEver(t *testing.T) {
	s := startSupervisor(t, "fail")
	if got := s.line("supervisor ends"); got[0] != "3" {
		t.Errorf("the exit code is %s", got[0])
	}
}

func TestAnEndForGoodIsPassedOn(t *testing.T) {
	s := startSupervisor(t, "drain")
	s.signal(s.ready(), syscall.SIGUSR1)
	if got := s.line("supervisor ends"); got[0] != "4" {
		t.Errorf("the exit code is %s", got[0])
	}
}
