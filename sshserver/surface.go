package sshserver

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"

	"teleport/access"
)

// Permission is what a handler declares before it can be registered. The zero
// value is not a permission: a handler without one does not register.
type Permission struct {
	action access.Action
	open   string
}

// Requires declares that the peer must be allowed the action, by a decision
// made before the handler runs.
func Requires(a access.Action) Permission { return Permission{action: a} }

// Open declares that any authenticated peer may use the handler, and why.
func Open(why string) Permission { return Permission{open: why} }

// Declared reports whether p is a permission at all.
func (p Permission) Declared() bool { return p.action != "" || p.open != "" }

// Action returns the action to decide on; ok is false for Open permissions.
func (p Permission) Action() (a access.Action, ok bool) { return p.action, p.action != "" }

// String names the permission in logs.
func (p Permission) String() string {
	if p.action != "" {
		return string(p.action)
	}
	return "open: " + p.open
}

// ChannelHandler serves one channel that the peer wants to open. It accepts or
// rejects nc, and returns when the channel is done. It runs on a goroutine of
// its own.
type ChannelHandler func(ctx context.Context, c *Conn, nc ssh.NewChannel)

// RequestHandler serves one global request. The returned payload is sent when
// the peer wants a reply; an error refuses.
type RequestHandler func(ctx context.Context, c *Conn, r *ssh.Request) (reply []byte, err error)

// Surface is the closed list of what a peer may ask of a server: channel types
// and global requests here, and the requests and subsystems of a session
// channel by name. What is not on it is refused. A Surface is built once,
// before it serves, and is not changed afterwards.
type Surface struct {
	channels map[string]channelEntry
	globals  map[string]globalEntry
	requests map[string]Permission
	err      error
}

type channelEntry struct {
	need   Permission
	handle ChannelHandler
}

type globalEntry struct {
	need   Permission
	handle RequestHandler
}

// NewSurface returns an empty list, which refuses everything.
func NewSurface() *Surface {
	return &Surface{channels: map[string]channelEntry{}, globals: map[string]globalEntry{}, requests: map[string]Permission{}}
}

// Channel puts a channel type on the list. Failures are kept for Err, so that a
// list reads as a list.
func (s *Surface) Channel(name string, need Permission, h ChannelHandler) *Surface {
	if s.check("channel", name, need, h == nil, s.channels[name].handle != nil) {
		s.channels[name] = channelEntry{need, h}
	}
	return s
}

// Global puts a global request on the list.
func (s *Surface) Global(name string, need Permission, h RequestHandler) *Surface {
	if s.check("global request", name, need, h == nil, s.globals[name].handle != nil) {
		s.globals[name] = globalEntry{need, h}
	}
	return s
}

// Request declares a request within session channels. The handler is the
// session's own: it asks Server.Allowed before it acts.
func (s *Surface) Request(name string, need Permission) *Surface {
	if s.check("request", name, need, false, s.requests[name].Declared()) {
		s.requests[name] = need
	}
	return s
}

// Subsystem declares a subsystem of session channels.
func (s *Surface) Subsystem(name string, need Permission) *Surface {
	key := subsystemKey(name)
	if s.check("subsystem", name, need, false, s.requests[key].Declared()) {
		s.requests[key] = need
	}
	return s
}

func subsystemKey(name string) string { return "subsystem " + name }

func (s *Surface) check(what, name string, need Permission, noHandler, taken bool) bool {
	switch {
	case s.err != nil:
		return false
	case name == "":
		s.err = fmt.Errorf("sshserver: a %s without a name", what)
	case !need.Declared():
		s.err = fmt.Errorf("sshserver: %s %q declares no permission", what, name)
	case noHandler:
		s.err = fmt.Errorf("sshserver: %s %q has no handler", what, name)
	case taken:
		s.err = fmt.Errorf("sshserver: %s %q is registered twice", what, name)
	}
	return s.err == nil
}

func (s *Surface) lines() []string {
	var out []string
	for name, e := range s.channels {
		out = append(out, "channel "+name+": "+e.need.String())
	}
	for name, e := range s.globals {
		out = append(out, "global "+name+": "+e.need.String())
	}
	for name, need := range s.requests {
		out = append(out, "request "+name+": "+need.String())
	}
	slices.Sort(out)
	return out
}

// Err returns the first failed registration.
func (s *Surface) Err() error { return s.err }
