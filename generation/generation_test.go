package generation

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/fault"
)

// The test binary plays the server: it answers each connection with its
// generation's number and replaces itself when told to on standard input.
func TestMain(m *testing.M) {
	if role := os.Getenv("GENERATION_TEST"); role != "" {
		serve := serveGeneration
		switch os.Getenv("GENERATION_AS") {
		case "supervisor":
			serve = superviseGeneration
		case "worker":
			serve = workGeneration
		}
		if err := serve(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serveGeneration(addr string) error {
	ctx := context.Background()
	p, err := Open()
	if err != nil {
		return err
	}
	n := "1"
	if !p.First() {
		n = "2"
		if os.Getenv("GENERATION_FAIL") != "" {
			return errors.New("told to fail")
		}
		if err := p.AcquireStore(ctx); err != nil {
			return err
		}
	}
	ln, err := p.Listen(ctx, addr)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, n)
			c.Close()
		}
	})
	if err := p.Ready(); err != nil {
		return err
	}
	fmt.Println("serving", n)
	if n == "2" {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test goes away
		return ln.Close()
	}
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadByte(); err != nil {
		return err
	}
	_, err = p.Replace(ctx, func() error { fmt.Println("store freed"); return nil })
	if err != nil {
		fmt.Println("kept:", err)
		_, _ = io.Copy(io.Discard, in)
	}
	ln.Close()
	wg.Wait()
	return nil
}

type served struct {
	addr  string
	stdin io.WriteCloser
	out   *bufio.Scanner
}

func start(t *testing.T, env ...string) *served {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "GENERATION_TEST="+addr), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
	return &served{addr, stdin, bufio.NewScanner(stdout)}
}

func (s *served) waitLine(t *testing.T, want string) string {
	t.Helper()
	for s.out.Scan() {
		if strings.HasPrefix(s.out.Text(), want) {
			return s.out.Text()
		}
	}
	t.Fatalf("the server ended before it said %q", want)
	return ""
}

func (s *served) ask(t *testing.T) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", s.addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestANewGenerationTakesOverTheListeners(t *testing.T) {
	s := start(t)
	s.waitLine(t, "serving 1")
	if got := s.ask(t); got != "1" {
		t.Fatalf("generation %s answers", got)
	}
	if _, err := s.stdin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s.waitLine(t, "store freed")
	s.waitLine(t, "serving 2")
	for range 20 { // never refused: both generations hold the socket until the first has closed it
		s.ask(t)
	}
}

func TestAGenerationThatFailsLeavesTheOldOneServing(t *testing.T) {
	s := start(t, "GENERATION_FAIL=1")
	s.waitLine(t, "serving 1")
	if _, err := s.stdin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s.waitLine(t, "kept:")
	if got := s.ask(t); got != "1" {
		t.Fatalf("generation %s answers", got)
	}
}

func TestAPortInUseIsOneClearLine(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Listen(t.Context(), ln.Addr().String())
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "another process") || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestNumbersGrowAndACorruptOneIsSaid(t *testing.T) {
	dir := t.TempDir()
	for want := uint64(1); want <= 3; want++ {
		if got, err := Next(dir); err != nil || got != want {
			t.Fatalf("generation %d, %v; want %d", got, err, want)
		}
	}
	if err := os.WriteFile(dir+"/generation", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Next(dir); !errors.Is(err, fault.Invalid) {
		t.Errorf("corrupt: %v", err)
	}
	if _, err := Next(dir + "/none"); !errors.Is(err, fault.Invalid) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestAGenerationThatIsNotReadyEndsWithTheOldOne(t *testing.T) {
	ours, theirs := net.Pipe()
	p := &Process{parent: theirs, lines: bufio.NewReader(theirs)}
	ours.Close()
	if err := p.Ready(); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Ready: %v", err)
	}
	if err := p.AcquireStore(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("AcquireStore: %v", err)
	}
}

func TestOnlyOneReplacement(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	p := &Process{next: b}
	if _, err := p.Replace(t.Context(), func() error { t.Error("the store was freed"); return nil }); !errors.Is(err, fault.Conflict) {
		t.Errorf("%v", err)
	}
	done := make(chan bool)
	go func() { done <- p.AwaitStop(t.Context()) }()
	if _, err := io.WriteString(a, "stop\n"); err != nil {
		t.Fatal(err)
	}
	if !<-done {
		t.Error("the stop did not arrive")
	}
}

func TestANewProcessThatSaysTooMuchIsEnded(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	wrote := make(chan error, 1)
	go func() {
		_, err := io.WriteString(a, strings.Repeat("x", 100))
		wrote <- err
	}()
	if err := negotiate(b, func() error { return nil }); !errors.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	b.Close()
	if <-wrote == nil {
		t.Error("all of it was read")
	}
}
