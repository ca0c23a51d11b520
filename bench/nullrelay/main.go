// Command nullrelay is the least that a path like ours can be in Go: a client, a
// relay and a host joined by mutual TLS, which run a command and copy bytes, with
// no names, policy, audit or SSH. What it costs is Go's and the kernel's share.
//
//	nullrelay host KEYPAIR ADDR          runs a command for each connection
//	nullrelay relay KEYPAIR ADDR NEXT    copies between a connection and NEXT
//	nullrelay client KEYPAIR NEXT LINE   sends LINE and standard input, prints the answer
//
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
		return errors.New("usage: nullrelay host|relay|client KEYPAIR ADDR …")
	}
	config, err := configOf(args[1])
	if err != nil {
		return err
	}
	switch {
	case args[0] == "host":
		return listen(args[2], config, command)
	case args[0] == "relay" && len(args) == 4:
		return listen(args[2], config, func(c *tls.Conn, _ *bufio.Reader) error { return relay(c, args[3], config) })
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
			t := tls.Server(c, config)
			if err := serve(t, bufio.NewReaderSize(t, 64<<10)); err != nil {
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

func relay(c *tls.Conn, next string, config *tls.Config) error {
	n, err := tls.Dial("tcp", next, config)
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

func pump(to, from *tls.Conn) {
	buf := make([]byte, 64<<10)
	io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf) //nolint:errcheck // an end is an end
	to.CloseWrite()                                                        //nolint:errcheck // the other side may be gone
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
