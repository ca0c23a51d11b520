// Command nullrelay is the least that a path like ours can be in Go: a client, a
// relay and a host joined by mutual TLS, which run a command and copy bytes, with
// no names, policy, audit or SSH. What it costs is Go's and the kernel's share.
//
//	nullrelay host KEYPAIR ADDR          runs a command for each connection
//	nullrelay relay KEYPAIR ADDR NEXT    copies between a connection and NEXT
//	nullrelay client KEYPAIR NEXT LINE   sends LINE and standard input, prints the answer
//	nullrelay enter KEYPAIR ADDR NEXT    copies between a plain connection and NEXT
//	nullrelay leave KEYPAIR ADDR SERVER  copies between a connection and a PostgreSQL server
//	nullrelay plain KEYPAIR ADDR SERVER  copies between a connection and a server without TLS
//	nullrelay open KEYPAIR ADDR NEXT     is a relay for clients without a certificate
//
// Enter, relay and leave or plain are the three hops of a database client; leave
// asks the server for TLS and shows it the certificate. Open and plain are the two of
// a browser.
// KEYPAIR is a PEM file with a certificate, which both sides trust, and its key.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "nullrelay:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: nullrelay host|relay|client|enter|leave|plain|open KEYPAIR ADDR …")
	}
	config, err := configOf(args[1])
	if err != nil {
		return err
	}
	switch {
	case args[0] == "host":
		return listen(args[2], config, command)
	case args[0] == "relay" && len(args) == 4:
		return listen(args[2], config, func(c *tls.Conn, _ *bufio.Reader) error { return relay(c, args[3], dial(config)) })
	case args[0] == "open" && len(args) == 4:
		browsers := config.Clone()
		browsers.ClientAuth = tls.NoClientCert
		return listen(args[2], browsers, func(c *tls.Conn, _ *bufio.Reader) error { return relay(c, args[3], dial(config)) })
	case args[0] == "leave" && len(args) == 4:
		return listen(args[2], config, func(c *tls.Conn, _ *bufio.Reader) error { return relay(c, args[3], dialPostgres(config)) })
	case args[0] == "plain" && len(args) == 4:
		return listen(args[2], config, func(c *tls.Conn, _ *bufio.Reader) error { return relay(c, args[3], dialPlain) })
	case args[0] == "enter" && len(args) == 4:
		return accept(args[2], func(c net.Conn) error { return relay(c.(*net.TCPConn), args[3], dial(config)) })
	case args[0] == "client" && len(args) == 4:
		return client(args[2], args[3], config)
	}
	return errors.New("no such role")
}

func configOf(path string) (*tls.Config, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(pem, pem)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool, ServerName: "null",
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}, nil
}

func listen(addr string, config *tls.Config, serve func(*tls.Conn, *bufio.Reader) error) error {
	return accept(addr, func(c net.Conn) error {
		t := tls.Server(c, config)
		return serve(t, bufio.NewReaderSize(t, 64<<10))
	})
}

func accept(addr string, serve func(net.Conn) error) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := serve(c); err != nil {
				fmt.Fprintln(os.Stderr, "nullrelay:", err)
			}
		}()
	}
}

// command reads a line, runs it with the connection as its streams, and closes.
func command(c *tls.Conn, r *bufio.Reader) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", strings.TrimSuffix(line, "\n"))
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = c, c
	go func() {
		io.Copy(in, r) //nolint:errcheck // the command may not read all
		in.Close()
	}()
	return errors.Join(cmd.Run(), c.CloseWrite())
}

// half is a connection whose directions end apart.
type half interface {
	net.Conn
	CloseWrite() error
}

func relay(c half, next string, dial func(addr string) (half, error)) error {
	n, err := dial(next)
	if err != nil {
		return err
	}
	defer n.Close()
	var wg sync.WaitGroup
	wg.Go(func() { pump(n, c) })
	pump(c, n)
	n.Close() // the answer is complete
	wg.Wait()
	return nil
}

func pump(to, from half) {
	buf := make([]byte, 64<<10)
	io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf) //nolint:errcheck // an end is an end
	to.CloseWrite()                                                        //nolint:errcheck // the other side may be gone
}

func dial(config *tls.Config) func(string) (half, error) {
	return func(addr string) (half, error) { return tls.Dial("tcp", addr, config) }
}

func dialPlain(addr string) (half, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// dialPostgres asks for TLS as a PostgreSQL client does (PostgreSQL 15, 55.2.10).
func dialPostgres(config *tls.Config) func(string) (half, error) {
	config = config.Clone()
	config.InsecureSkipVerify = true // the server's certificate is of another authority, and is not what is measured
	return func(addr string) (half, error) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		answer := make([]byte, 1)
		if _, err = c.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err == nil {
			_, err = io.ReadFull(c, answer)
		}
		if err == nil && answer[0] != 'S' {
			err = errors.New("the server does not offer TLS")
		}
		if err != nil {
			c.Close()
			return nil, err
		}
		return tls.Client(c, config), nil
	}
}

func client(next, line string, config *tls.Config) error {
	c, err := tls.Dial("tcp", next, config)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return err
	}
	go func() {
		io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{os.Stdin}, make([]byte, 64<<10)) //nolint:errcheck // the command may not read all
		c.CloseWrite()                                                                             //nolint:errcheck // it may be gone
	}()
	_, err = io.CopyBuffer(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{c}, make([]byte, 64<<10))
	return err
}
