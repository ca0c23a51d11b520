package tshcmd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/cert/sshcert"
	"teleport/types"
)

// serveSSH is a plain SSH server for one connection: commands by /bin/sh as
// whoever runs the test, SFTP, and connections to loopback ports. It admits the
// logins of the user's certificate, except "deploy".
func serveSSH(ctx context.Context, t *testing.T, nc net.Conn, host ssh.Signer, trust *cert.Trust) {
	defer nc.Close()
	conf := &ssh.ServerConfig{PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		crt, ok := key.(*ssh.Certificate)
		if !ok {
			return nil, errors.New("certificates only")
		}
		id, err := sshcert.Verify(crt, trust, types.IdentityUser, time.Now())
		if err != nil {
			return nil, err
		}
		for _, l := range id.Authority.Logins {
			if l == meta.User() && l != "deploy" {
				return &ssh.Permissions{}, nil
			}
		}
		return nil, errors.New("login not allowed")
	}}
	conf.AddHostKey(host)
	_, chans, reqs, err := ssh.NewServerConn(nc, conf)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { ssh.DiscardRequests(reqs) })
	for nch := range chans {
		switch nch.ChannelType() {
		case "session":
			if ch, in, err := nch.Accept(); err == nil {
				wg.Go(func() { serveSession(ctx, ch, in) })
			}
		case "direct-tcpip":
			wg.Go(func() { serveDirect(nch) })
		default:
			_ = nch.Reject(ssh.UnknownChannelType, "no such channel here")
		}
	}
}

func serveDirect(nch ssh.NewChannel) {
	var d struct {
		Host string
		Port uint32
		From string
		FP   uint32
	}
	if err := ssh.Unmarshal(nch.ExtraData(), &d); err != nil {
		_ = nch.Reject(ssh.ConnectionFailed, "bad request")
		return
	}
	to, err := net.Dial("tcp", net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port))))
	if err != nil {
		_ = nch.Reject(ssh.ConnectionFailed, "refused")
		return
	}
	defer to.Close()
	ch, reqs, err := nch.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	done := make(chan struct{})
	go func() { _, _ = io.Copy(to, ch); _ = to.(*net.TCPConn).CloseWrite(); close(done) }()
	_, _ = io.Copy(ch, to)
	ch.Close()
	<-done
}

func serveSession(ctx context.Context, ch ssh.Channel, in <-chan *ssh.Request) {
	defer ch.Close()
	var env []string
	var size *pty.Winsize
	for r := range in {
		var text struct{ Value string }
		_ = ssh.Unmarshal(r.Payload, &text)
		switch r.Type {
		case "env":
			var v struct{ Name, Value string }
			_ = ssh.Unmarshal(r.Payload, &v)
			env = append(env, v.Name+"="+v.Value)
			reply(r, true)
		case "pty-req":
			var v struct {
				Term       string
				Cols, Rows uint32
			}
			_ = ssh.Unmarshal(append(r.Payload[:len(text.Value)+4:len(text.Value)+4], r.Payload[len(text.Value)+4:len(text.Value)+12]...), &v)
			size = &pty.Winsize{Cols: uint16(v.Cols), Rows: uint16(v.Rows)}
			reply(r, true)
		case "shell":
			reply(r, size != nil)
			if size != nil {
				shell(ctx, ch, in, size)
			}
			return
		case "exec":
			reply(r, true)
			go ssh.DiscardRequests(in)
			command(ctx, ch, text.Value, env)
			return
		case "subsystem":
			reply(r, text.Value == "sftp")
			go ssh.DiscardRequests(in)
			if s, err := sftp.NewServer(ch); err == nil {
				_ = s.Serve()
			}
			return
		default:
			reply(r, false)
		}
	}
}

// shell runs an interactive /bin/sh and follows the window's size.
func shell(ctx context.Context, ch ssh.Channel, in <-chan *ssh.Request, size *pty.Winsize) {
	cmd := exec.CommandContext(ctx, "/bin/sh")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "PS1=$ "}
	f, err := pty.StartWithSize(cmd, size)
	if err != nil {
		return
	}
	go func() {
		for r := range in {
			var v struct{ Cols, Rows, W, H uint32 }
			if r.Type == "window-change" && ssh.Unmarshal(r.Payload, &v) == nil {
				_ = pty.Setsize(f, &pty.Winsize{Cols: uint16(v.Cols), Rows: uint16(v.Rows)})
			}
			reply(r, false)
		}
		f.Close() // the client went away
	}()
	go func() { _, _ = io.Copy(f, ch) }()
	_, _ = io.Copy(ch, f)
	exit(ch, cmd.Wait())
}

func reply(r *ssh.Request, ok bool) {
	if r.WantReply {
		_ = r.Reply(ok, nil)
	}
}

func command(ctx context.Context, ch ssh.Channel, line string, env []string) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Env = append(env, "PATH=/usr/bin:/bin")
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	go func() { _, _ = io.Copy(in, ch); in.Close() }()
	exit(ch, cmd.Wait())
}

// exit tells how a command ended.
func exit(ch ssh.Channel, err error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		name := strings.TrimPrefix(map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGKILL: "KILL"}[exit.Sys().(syscall.WaitStatus).Signal()], "SIG")
		_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal string
			Core   bool
			Msg    string
			Lang   string
		}{Signal: name}))
		return
	}
	code := uint32(0)
	if exit != nil {
		code = uint32(exit.ExitCode())
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
}

// selfSigned is a web certificate that no machine trusts.
func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
