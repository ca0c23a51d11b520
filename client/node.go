package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/netx/alpndial"
	"teleport/resume"
	"teleport/types"
)

// DialNode connects to a server's SSH port, for a program that speaks SSH
// itself. Where the server's agent offers it, the connection outlives the proxy,
// the network and the sleep of this machine.
func (c *Client) DialNode(ctx context.Context, host string) (net.Conn, dial.Reply, error) {
	return c.dialLasting(ctx, dial.Target{Kind: types.KindNode, Name: c.trimCluster(host)}, func(agent string) string { return agent })
}

// dialLasting opens a stream to a resource that outlives its connections, where
// the agent offers that. again names the resource at the one agent that holds the
// stream.
func (c *Client) dialLasting(ctx context.Context, t dial.Target, again func(agent string) string) (net.Conn, dial.Reply, error) {
	t.Cluster, t.Resume = c.cfg.Cluster, !c.cfg.NoResume
	h, err := t.Header()
	if err != nil {
		return nil, dial.Reply{}, err
	}
	conn, reply, err := c.dials.Send(ctx, h, c.proxy)
	if err != nil {
		return nil, reply, explainTLS(err, c.cfg.ProxyAddr)
	}
	if !t.Resume || !reply.Resume {
		return conn, reply, nil
	}
	t.Name, t.Stream, t.Generation = again(reply.AgentUUID), h.Stream, reply.Generation
	stream, err := c.resumable(conn, reply, t)
	if err != nil {
		conn.Close()
		return nil, reply, err
	}
	return stream, reply, nil
}

func (c *Client) resumable(conn net.Conn, reply dial.Reply, t dial.Target) (net.Conn, error) {
	r := &redialer{client: c, reply: reply, proxies: []alpnDialer{c.proxy}, target: t}
	for _, addr := range reply.Proxies {
		if addr != c.cfg.ProxyAddr {
			r.proxies = append(r.proxies, &alpndial.Dialer{ProxyAddr: addr, Insecure: true, Upgrade: c.cfg.Upgrade})
		}
	}
	return resume.NewClient(conn, resume.ClientOptions{
		Subject:    resume.Subject{Stream: t.Stream, Agent: reply.AgentUUID, User: c.cfg.Credential.User(), Cluster: c.cfg.Credential.Cluster()},
		Generation: reply.Generation, Limit: time.Duration(reply.Keep) * time.Second, Certificate: c.cfg.Credential.TLSCertificate(),
		Redial: r.redial, Observe: c.cfg.Paused,
	})
}

type alpnDialer = dial.TLSDialer

// redialer finds the agent of a stream again, through whichever proxy answers.
type redialer struct {
	client  *Client
	reply   dial.Reply // of the first dial
	target  dial.Target
	proxies []alpnDialer // the person's own first

	mu       sync.Mutex
	at       int       // the proxy to try
	departed time.Time // since when proxies say that the agent has left
	unknown  time.Time // since when they know of no such server
}

const (
	// elsewhereFor bounds an attempt through a proxy that the person did not name:
	// its address may be one of another network.
	elsewhereFor = 3 * time.Second
	// departedFor is how long an agent may be away from proxies that saw it leave:
	// one that still lives comes back at once.
	departedFor = 5 * time.Second
	// unknownFor is how long a proxy may not know the server: it may have started
	// a moment ago.
	unknownFor = 15 * time.Second
)

func (r *redialer) redial(ctx context.Context) (net.Conn, error) {
	if err := r.client.cfg.Credential.Check(time.Now()); err != nil {
		return nil, resume.Final(err)
	}
	h, err := r.target.Header()
	if err != nil {
		return nil, resume.Final(err)
	}
	r.mu.Lock()
	at := r.at
	r.mu.Unlock()
	if at > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, elsewhereFor)
		defer cancel()
	}
	conn, reply, err := r.client.dials.Send(ctx, h, r.proxies[at])
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.departed, r.unknown = time.Time{}, time.Time{}
		return conn, nil
	}
	r.at = (at + 1) % len(r.proxies)
	return nil, r.judge(reply, explainTLS(err, r.client.cfg.ProxyAddr))
}

// judge tells what may pass from what will not.
func (r *redialer) judge(reply dial.Reply, err error) error {
	now := time.Now()
	switch {
	case reply.Kind == "": // no answer
		return err
	case reply.Departed:
		if r.departed.IsZero() {
			r.departed = now
		}
		if now.Sub(r.departed) >= departedFor {
			return resume.Final(fault.Wrap(err, fault.Unavailable, "the agent of %s has ended, and the session with it", r.reply.Hostname))
		}
		return err
	case errors.Is(err, fault.NotFound):
		if r.unknown.IsZero() {
			r.unknown = now
		}
		if now.Sub(r.unknown) < unknownFor {
			return err
		}
	case errors.Is(err, fault.Unavailable), errors.Is(err, fault.Timeout), errors.Is(err, fault.Limit), errors.Is(err, fault.Internal), errors.Is(err, fault.Canceled):
		return err
	}
	return resume.Final(err)
}
