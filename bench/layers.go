package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/netx"
	"teleport/sshserver"
)

// A link is both ends of a connection in this process. The processor time of a
// transfer over it is that of both ends, and of the kernel between.
type link struct {
	from io.Writer
	to   io.Reader
	end  func()
}

// layer is one way to stack protocols on the loopback.
type layer struct {
	name string
	make func(context.Context) (link, error)
}

// measureLayers builds the path up from its layers, in this process, and takes
// the differences.
func (b *bench) measureLayers(ctx context.Context) error {
	k, err := newLayerKeys()
	if err != nil {
		return err
	}
	size := min(b.bytes, 1e9)
	s := b.table.section(fmt.Sprintf("Layers, in one process: CPU of both ends, %.1f GB each", float64(size)/1e9), "layer", "ns/byte", "MB/s")
	for _, l := range []layer{{"TCP on the loopback", k.tcpLink}, {"TLS on it", k.tlsLink}, {"SSH on TCP", k.sshLink}, {"SSH in TLS", k.sshInTLS},
		{"SSH in TLS, spliced into TLS (the path of tsh)", k.path}} {
		used, took, err := l.carry(ctx, size)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		s.row(l.name, fmt.Sprintf("%.2f", float64(used)/float64(size)), fmt.Sprintf("%.0f", float64(size)/1e6/took.Seconds()))
	}
	s = b.table.section("Once a session, in one process: CPU of both ends", "what", "ms")
	for _, o := range []struct {
		name string
		do   func(context.Context) error
	}{{"TCP connection", k.once(k.tcpLink)}, {"TLS handshake, both with certificates", k.once(k.tlsLink)},
		{"SSH handshake, log-in by key, channel", k.once(k.sshLink)}, {"/bin/sh -c true, started and waited for", shell}} {
		const times = 100
		before := own()
		for range times {
			if err := o.do(ctx); err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
		}
		s.row(o.name, fmt.Sprintf("%.2f", millis(own()-before)/times))
	}
	return nil
}

// own is the processor time of this process and of its children.
func own() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

func shell(ctx context.Context) error { return exec.CommandContext(ctx, "/bin/sh", "-c", "true").Run() }

// carry sends size bytes in pieces of 32 KiB, as a session does.
func (l layer) carry(ctx context.Context, size int64) (used, took time.Duration, err error) {
	link, err := l.make(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer link.end()
	sent := make(chan error, 1)
	before, begun := own(), time.Now()
	go func() {
		piece := make([]byte, 32<<10)
		var err error
		for left := size; left > 0 && err == nil; left -= int64(len(piece)) {
			piece = piece[:min(left, int64(len(piece)))]
			_, err = link.from.Write(piece)
		}
		sent <- err
	}()
	got := make([]byte, 256<<10)
	for left := size; left > 0; {
		n, err := link.to.Read(got)
		if left -= int64(n); err != nil && left > 0 {
			return 0, 0, err
		}
	}
	return own() - before, time.Since(begun), <-sent
}

func (k *layerKeys) once(make func(context.Context) (link, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		l, err := make(ctx)
		if err == nil {
			l.end()
		}
		return err
	}
}

// layerKeys are the keys of both ends: P-256 for TLS and Ed25519 for SSH, as in
// the cluster.
type layerKeys struct {
	tls  *tls.Config
	host ssh.Signer
}

func newLayerKeys() (*layerKeys, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"layer"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	host, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		return nil, err
	}
	return &layerKeys{host: host, tls: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}},
		RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "layer", MinVersion: tls.VersionTLS13,
		SessionTicketsDisabled: true}}, nil
}

// loopback is a TCP connection with itself.
func loopback(ctx context.Context) (a, b net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if a, err = new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	b, err = ln.Accept()
	return a, b, err
}

func (k *layerKeys) tcpLink(ctx context.Context) (link, error) {
	a, b, err := loopback(ctx)
	if err != nil {
		return link{}, err
	}
	return link{a, b, func() { a.Close(); b.Close() }}, nil
}

// tlsPair is a TLS connection as the cluster has them.
func (k *layerKeys) tlsPair(ctx context.Context) (client, server net.Conn, err error) {
	a, b, err := loopback(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, s := tls.Client(netx.UnderTLS(a), k.tls), tls.Server(netx.UnderTLS(b), k.tls)
	done := make(chan error, 1)
	go func() { done <- s.HandshakeContext(ctx) }()
	return c, s, errors.Join(c.HandshakeContext(ctx), <-done)
}

func (k *layerKeys) tlsLink(ctx context.Context) (link, error) {
	c, s, err := k.tlsPair(ctx)
	return link{c, s, func() { c.Close(); s.Close() }}, err
}

func (k *layerKeys) sshLink(ctx context.Context) (link, error) {
	a, b, err := loopback(ctx)
	if err != nil {
		return link{}, err
	}
	return k.ssh(a, b)
}

func (k *layerKeys) sshInTLS(ctx context.Context) (link, error) {
	c, s, err := k.tlsPair(ctx)
	if err != nil {
		return link{}, err
	}
	return k.ssh(netx.ForSSH(c), netx.ForSSH(s))
}

// path is the whole way: the client's TLS ends at a proxy, which splices it into
// the agent's, and SSH runs from end to end.
func (k *layerKeys) path(ctx context.Context) (link, error) {
	client, gate, err := k.tlsPair(ctx)
	if err != nil {
		return link{}, err
	}
	agent, carrier, err := k.tlsPair(ctx)
	if err != nil {
		return link{}, err
	}
	spliced := make(chan error, 1)
	go func() { spliced <- netx.Splice(ctx, gate, carrier, netx.SpliceOptions{}) }()
	l, err := k.ssh(netx.ForSSH(client), netx.ForSSH(agent))
	return link{l.from, l.to, func() { l.end(); <-spliced }}, err
}

// ssh runs SSH over a connection and opens a channel from a to b.
func (k *layerKeys) ssh(a, b net.Conn) (link, error) {
	server := &ssh.ServerConfig{Config: sshserver.Algorithms(),
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	server.AddHostKey(k.host)
	accepted := make(chan ssh.Channel, 1)
	go func() {
		defer close(accepted)
		conn, chans, reqs, err := ssh.NewServerConn(b, server)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		n, ok := <-chans
		if !ok {
			return
		}
		if ch, reqs, err := n.Accept(); err == nil {
			go ssh.DiscardRequests(reqs)
			accepted <- ch
			_ = conn.Wait() // until the client closes
		}
	}()
	conn, chans, reqs, err := ssh.NewClientConn(a, "layer", &ssh.ClientConfig{Config: sshserver.Algorithms(), User: "bench",
		Auth: []ssh.AuthMethod{ssh.PublicKeys(k.host)}, HostKeyCallback: ssh.FixedHostKey(k.host.PublicKey())})
	if err != nil {
		return link{}, err
	}
	c := ssh.NewClient(conn, chans, reqs)
	ch, creqs, err := c.OpenChannel("bytes", nil)
	if err != nil {
		return link{}, err
	}
	go ssh.DiscardRequests(creqs)
	far := <-accepted
	if far == nil {
		return link{}, errors.New("the channel was not accepted")
	}
	return link{ch, far, func() { c.Close(); b.Close() }}, nil
}
