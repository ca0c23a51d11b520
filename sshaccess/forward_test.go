package sshaccess_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"teleport/fault"
	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

// echo answers each connection with what it sends, until the sender is done.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				io.Copy(c, c)
				c.(*net.TCPConn).CloseWrite()
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// roundTrip sends bytes, ends the stream, and checks that all came back.
func roundTrip(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	want := make([]byte, 1<<20)
	rand.Read(want)
	go func() {
		c.Write(want)
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d of %d bytes came back, %v", len(got), len(want), err)
	}
}

func TestForwardLocal(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	nc, err := c.Dial(context.Background(), echo(t))
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, nc)
	w.log.wait(t, "port", "T3003I")
	stop := w.log.wait(t, "port", "T3003S").(*event.Port)
	if stop.Sent != 1<<20 || stop.Received != 1<<20 || stop.Direction != "local" {
		t.Errorf("port says %+v", stop)
	}
	if _, err := c.Dial(context.Background(), "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a closed port: %v", err)
	}
	w.log.wait(t, "port", "T3003E")
}

func TestForwardDynamic(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.ForwardDynamic(ctx, l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(echo(t))
	p, _ := net.LookupPort("tcp", port)
	nc.Write(append(append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...), byte(p>>8), byte(p)))
	var head [12]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil || head[3] != 0 {
		t.Fatalf("socks says %v, %v", head, err)
	}
	roundTrip(t, nc)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestForwardRemote(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	l, err := c.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := echo(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- c.ForwardRemote(ctx, l, func(context.Context) (net.Conn, error) { return net.Dial("tcp", target) })
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, nc)
	// Another connection, of the same user even, cannot end it.
	other := w.mustClient("root", s)
	port := uint32(l.Addr().(*net.TCPAddr).Port)
	ok, _, err := other.Conn().SendRequest("cancel-tcpip-forward", true, ssh.Marshal(struct {
		Addr string
		Port uint32
	}{"127.0.0.1", port}))
	if err != nil || ok {
		t.Errorf("a stranger's cancel: %v %v", ok, err)
	}
	again, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("the forward is gone: %v", err)
	}
	roundTrip(t, again)
	cancel()
	<-done
	w.log.wait(t, "port", "T3003S")
}

// Ending a forward does not wait for what it carries, nor end it; requests behind
// it are answered meanwhile.
func TestCancelForwardWhileItCarries(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	l, err := c.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	carried, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer carried.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	cancel := ssh.Marshal(struct {
		Addr string
		Port uint32
	}{"127.0.0.1", uint32(l.Addr().(*net.TCPAddr).Port)})
	if ok, _, err := c.Conn().SendRequest("cancel-tcpip-forward", true, cancel); err != nil || !ok {
		t.Fatalf("cancel: %v %v", ok, err)
	}
	if err := c.Keepalive(); err != nil {
		t.Errorf("the connection stands still: %v", err)
	}
	waitFor(t, "the port to be free", func() bool { // the helper may still hold its copy
		again, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			again.Close()
		}
		return err != nil
	})
	if ok, _, _ := c.Conn().SendRequest("cancel-tcpip-forward", true, cancel); ok {
		t.Error("ended twice")
	}
	go func() { io.WriteString(carried, "alive"); carried.(*net.TCPConn).CloseWrite() }()
	if b, err := io.ReadAll(far); string(b) != "alive" || err != nil {
		t.Errorf("what was carried got %q, %v", b, err)
	}
	w.log.wait(t, "port", "T3003S")
}

func TestForwardSwitches(t *testing.T) {
	w := newWorld(t, func(w *world) { w.cfg.PortForwarding = false })
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	if _, err := c.Dial(context.Background(), "127.0.0.1:22"); !errors.Is(err, fault.Denied) {
		t.Errorf("-L on a node that forbids it: %v", err)
	}
	if _, err := c.Listen("127.0.0.1:0"); err == nil {
		t.Error("-R on a node that forbids it")
	}
	w.log.wait(t, "port", "T3003E")
	if err := c.Keepalive(); err != nil {
		t.Error("the connection did not survive a refusal")
	}
}

func TestForwardDeniedByRole(t *testing.T) {
	w := newWorld(t)
	w.policy.roles["dev"].Spec.Options.SSHPortForwarding = &types.SSHPortForwarding{Local: &types.Switch{Enabled: no()}, Remote: &types.Switch{Enabled: no()}}
	w.policy.roles["dev"].Spec.Options.ForwardAgent = no()
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	if _, err := c.Dial(context.Background(), "127.0.0.1:22"); !errors.Is(err, fault.Denied) {
		t.Errorf("-L: %v", err)
	}
	err := c.Run(context.Background(), sshclient.Command{Line: "true", Agent: agent.NewKeyring()})
	if !errors.Is(err, fault.Denied) {
		t.Errorf("-A: %v", err)
	}
	w.log.wait(t, "agent.forward", "TXS01W")
}

func TestUnknownIsRefused(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	for _, kind := range []string{"direct-streamlocal@openssh.com", "x11", "tun@openssh.com", "forwarded-tcpip", "", strings.Repeat("x", 4000)} {
		if _, _, err := c.Conn().OpenChannel(kind, nil); err == nil {
			t.Errorf("channel %.20q was opened", kind)
		}
	}
	if ok, _, _ := c.Conn().SendRequest("streamlocal-forward@openssh.com", true, nil); ok {
		t.Error("an unknown global request was granted")
	}
	if err := c.Run(context.Background(), sshclient.Command{Subsystem: "netconf"}); !errors.Is(err, fault.Denied) {
		t.Errorf("unknown subsystem: %v", err)
	}
	w.log.wait(t, "subsystem", "T3001E")
}

func TestAgentForward(t *testing.T) {
	w := newWorld(t)
	key, s := w.user("alice", "root")
	_, priv := newSigner(t)
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: priv, Comment: "canary-key"}); err != nil {
		t.Fatal(err)
	}
	c := w.mustClient("root", s)
	var out bytes.Buffer
	err := c.Run(context.Background(), sshclient.Command{Line: `ssh-add -l; stat -c '%a %U' $(dirname $SSH_AUTH_SOCK); echo $SSH_AUTH_SOCK`, Stdout: &out, Agent: ring})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "canary-key") || lines[1] != "700 root" {
		t.Fatalf("%q", out.String())
	}
	c.Close()
	w.log.wait(t, "agent.forward", "TXS01I")
	waitFor(t, "the agent's directory to go", func() bool {
		_, err := os.Stat(filepath.Dir(lines[2]))
		return errors.Is(err, os.ErrNotExist)
	})
	_ = key
}

// waitFor polls what has no event of its own.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
