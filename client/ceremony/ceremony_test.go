package ceremony_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"teleport/client/ceremony"
	"teleport/fault"
)

func TestAnswersByLine(t *testing.T) {
	ctx := t.Context()
	in := strings.NewReader("alice\nsecret pass\r\n123 456\nrest of the input")
	var out bytes.Buffer
	p := ceremony.New(in, &out)
	user, err := p.Line(ctx, "User")
	if err != nil || user != "alice" {
		t.Errorf("user %q, %v", user, err)
	}
	pass, err := p.Password(ctx, "Password")
	if err != nil || pass.Reveal() != "secret pass" {
		t.Errorf("password: %v", err)
	}
	otp, err := p.OTP(ctx, "Code")
	if err != nil || otp.Reveal() != "123456" {
		t.Errorf("code: %v", err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "rest of the input" {
		t.Errorf("what follows the answers is %q", rest)
	}
	if out.Len() != 0 {
		t.Errorf("prompted without a terminal: %q", out.String())
	}
}

func TestBadAnswers(t *testing.T) {
	for name, text := range map[string]string{
		"end of input": "", "empty": "\n", "blank": "  \n", "not UTF-8": "\xff\xfe\n", "endless": strings.Repeat("x", 10000),
	} {
		p := ceremony.New(strings.NewReader(text), io.Discard)
		if _, err := p.Password(t.Context(), "Password"); err == nil || fault.KindOf(err) == fault.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, code := range []string{"12345", "123456789", "abcdef", "12345x"} {
		p := ceremony.New(strings.NewReader(code+"\n"), io.Discard)
		if _, err := p.OTP(t.Context(), "Code"); fault.KindOf(err) != fault.Invalid || strings.Contains(err.Error(), code) {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestLastLineWithoutEnd(t *testing.T) {
	p := ceremony.New(strings.NewReader("secret"), io.Discard)
	if s, err := p.Password(t.Context(), "Password"); err != nil || s.Reveal() != "secret" {
		t.Errorf("%v", err)
	}
}

func terminal(t *testing.T) (person *os.File, tty *os.File) {
	t.Helper()
	person, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close(); tty.Close() })
	return person, tty
}

func echo(t *testing.T, f *os.File) bool {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return m.Lflag&unix.ECHO != 0
}

func TestPasswordIsNotEchoed(t *testing.T) {
	person, tty := terminal(t)
	p := ceremony.New(tty, tty)
	got := make(chan string)
	go func() {
		s, err := p.Password(t.Context(), "Password")
		if err != nil {
			t.Error(err)
		}
		got <- s.Reveal()
	}()
	seen := bufio.NewReader(person)
	if prompt, err := seen.ReadString(':'); err != nil || prompt != "Password:" {
		t.Fatalf("prompt %q, %v", prompt, err)
	}
	if _, err := person.WriteString("secret\n"); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "secret" {
		t.Errorf("read %q", s)
	}
	shown, err := seen.ReadString('\n')
	if err != nil || strings.Contains(shown, "secret") {
		t.Errorf("the terminal shows %q, %v", shown, err)
	}
	if !echo(t, tty) {
		t.Error("echo stays off")
	}
}

func TestInterruptGivesTheTerminalBack(t *testing.T) {
	person, tty := terminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := ceremony.New(tty, tty).Password(ctx, "Password")
		done <- err
	}()
	if _, err := bufio.NewReader(person).ReadString(':'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; fault.KindOf(err) != fault.Canceled {
		t.Errorf("%v", err)
	}
	if !echo(t, tty) {
		t.Error("echo stays off")
	}
}

func TestConfirmWithoutTerminalIsNo(t *testing.T) {
	if yes, err := ceremony.New(strings.NewReader("y\n"), io.Discard).Confirm(t.Context(), "Sure?"); yes || err != nil {
		t.Errorf("%v, %v", yes, err)
	}
}
