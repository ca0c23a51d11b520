package tshcmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"teleport/fault"
	"teleport/sshclient"
)

// forward is one port forwarding: where it listens and where it leads. An empty
// Dest is chosen by each connection (SOCKS).
type forward struct {
	listen string // host:port, on this machine or, for a remote one, on the server
	dest   string // host:port, resolved by the other side
}

// parseForward reads [bind_address:]port:host:hostport as ssh(1) does, and with
// dynamic [bind_address:]port. Without a bind address it listens on loopback;
// "*" and an empty one mean all addresses. IPv6 addresses stand in brackets.
func parseForward(text string, dynamic bool) (forward, error) {
	parts, err := splitColons(strings.ReplaceAll(strings.TrimSpace(text), " ", ":"))
	want := 3
	if dynamic {
		want = 1
	}
	if err != nil || len(parts) < want || len(parts) > want+1 {
		return forward{}, badForward(text, dynamic)
	}
	bind := "localhost"
	if len(parts) == want+1 {
		bind, parts = parts[0], parts[1:]
		if bind == "*" {
			bind = ""
		}
	}
	if !isPort(parts[0], 0) {
		return forward{}, badForward(text, dynamic)
	}
	f := forward{listen: net.JoinHostPort(bind, parts[0])}
	if dynamic {
		return f, nil
	}
	if parts[1] == "" || !isPort(parts[2], 1) {
		return forward{}, badForward(text, dynamic)
	}
	f.dest = net.JoinHostPort(parts[1], parts[2])
	return f, nil
}

func badForward(text string, dynamic bool) error {
	form := "[bind_address:]port:host:hostport"
	if dynamic {
		form = "[bind_address:]port"
	}
	return fault.New(fault.Invalid, "%q is not a forwarding", text).WithHint("write %s", form)
}

func isPort(s string, least int) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && int(n) >= least
}

// splitColons splits at colons outside of brackets, and drops the brackets.
func splitColons(s string) ([]string, error) {
	var parts []string
	for {
		if strings.HasPrefix(s, "[") {
			host, rest, ok := strings.Cut(s[1:], "]")
			if !ok || rest != "" && rest[0] != ':' {
				return nil, errors.New("unbalanced bracket")
			}
			parts, s = append(parts, host), strings.TrimPrefix(rest, ":")
			if rest == "" {
				return parts, nil
			}
			continue
		}
		part, rest, more := strings.Cut(s, ":")
		parts, s = append(parts, part), rest
		if !more {
			return parts, nil
		}
	}
}

// forwards serves the port forwardings of one connection.
type forwards struct {
	app  *app
	opts *sshOptions
	conn *sshclient.Client
	wg   sync.WaitGroup
}

// forward opens all ports that were asked for. A port that cannot be opened is
// a warning, and the end with ExitOnForwardFailure. They are served until ctx
// ends; wait waits for that.
func (a *app) forward(ctx context.Context, conn *sshclient.Client, o *sshOptions) (*forwards, error) {
	f := &forwards{app: a, opts: o, conn: conn}
	for _, group := range []struct {
		list    []string
		dynamic bool
		open    func(context.Context, forward) error
	}{{o.local, false, f.local}, {o.dynamic, true, f.local}, {o.remote, false, f.remote}} {
		for _, text := range group.list {
			fw, err := parseForward(text, group.dynamic)
			if err == nil {
				err = group.open(ctx, fw)
			}
			if err != nil && (o.exitOnFailure || fault.KindOf(err) == fault.Invalid) {
				return f, err
			}
			if err != nil {
				a.warn(o, "%s", fault.Message(err))
			}
		}
	}
	return f, nil
}

// local serves -L, and -D where the destination is left open.
func (f *forwards) local(ctx context.Context, fw forward) error {
	if f.opts.gateway {
		fw.listen = strings.Replace(fw.listen, "localhost:", ":", 1)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fw.listen)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be listened on: %v", fw.listen, errors.Unwrap(err))
	}
	f.say(fw, l.Addr(), "here")
	f.wg.Go(func() {
		var err error
		if fw.dest == "" {
			err = f.conn.ForwardDynamic(ctx, l)
		} else {
			err = f.conn.ForwardLocal(ctx, l, fw.dest)
		}
		f.ended(fw, err)
	})
	return nil
}

// remote serves -R.
func (f *forwards) remote(ctx context.Context, fw forward) error {
	addr := fw.listen
	if strings.HasPrefix(addr, ":") {
		addr = "0.0.0.0" + addr // the SSH library has no other way to say "all"
	}
	l, err := f.conn.Listen(addr)
	if err != nil {
		return err
	}
	f.say(fw, l.Addr(), "on the server")
	f.wg.Go(func() {
		var d net.Dialer
		f.ended(fw, f.conn.ForwardRemote(ctx, l, func(ctx context.Context) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", fw.dest)
		}))
	})
	return nil
}

// say names a port that was chosen by the system.
func (f *forwards) say(fw forward, addr net.Addr, where string) {
	if strings.HasSuffix(fw.listen, ":0") && !f.opts.quiet {
		_, port, _ := net.SplitHostPort(addr.String())
		fmt.Fprintf(f.app.errs, "Allocated port %s %s for forwarding to %s\n", port, where, fw.dest)
	}
}

func (f *forwards) ended(fw forward, err error) {
	if err != nil {
		f.app.warn(f.opts, "forwarding of %s ended: %s", fw.listen, fault.Message(err))
	}
}

// wait returns when all forwardings have ended.
func (f *forwards) wait() { f.wg.Wait() }
