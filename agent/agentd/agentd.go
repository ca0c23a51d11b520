// Package agentd is what every agent does before a protocol starts: it takes
// the dials that proxies send, checks that they are meant for this agent and
// name something it fronts, and hands the connection to the service of that
// resource kind. Who may do what is decided inside the service, from the
// identity that the client itself proves there.
package agentd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/resume"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Service fronts the resources of one kind. Implementations are safe for
// concurrent use.
type Service interface {
	// Kind is the resource kind that dials name.
	Kind() string
	// Fronts reports whether the service serves the resource of that name.
	Fronts(name string) bool
	// Serve serves an accepted dial until it ends or ctx does, and closes it.
	Serve(ctx context.Context, in *dial.Inbound) error
}

// Options configure an Agent. Fields without a remark are required.
type Options struct {
	Cluster    string
	UUID       string
	Hostname   string
	Generation uint64
	Services   []Service
	Locks      func() []*types.Lock
	// Streams makes dials resumable for the clients that ask. Nil: none are.
	Streams *Streams
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Agent hands dials to services. Safe for concurrent use.
type Agent struct {
	o        Options
	services map[string]Service
	holder   *resume.Holder  // nil without Options.Streams
	life     context.Context // of services whose stream may outlive its dial
	end      context.CancelFunc
	work     sync.WaitGroup
}

// New makes an agent of its services, one for each kind.
func New(o Options) (*Agent, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Agent{o: o, services: map[string]Service{}}
	for _, s := range o.Services {
		if a.services[s.Kind()] != nil {
			return nil, fault.New(fault.Internal, "two services front the kind %q", s.Kind())
		}
		a.services[s.Kind()] = s
	}
	a.life, a.end = context.WithCancel(context.Background())
	if o.Streams != nil {
		a.holder = o.Streams.holder(o)
	}
	return a, nil
}

// Handle serves one dial that arrived over a tunnel; it is a
// tunnel.PoolOptions.Handle.
func (a *Agent) Handle(ctx context.Context, in tunnel.Incoming) {
	defer in.Close()
	inbound, err := dial.FromTunnel(in)
	if err != nil {
		a.log(ctx, in.Header, err)
		if err := dial.Refuse(in, err); err != nil {
			a.log(ctx, in.Header, err)
		}
		return
	}
	if err := a.serve(ctx, inbound); err != nil {
		a.log(ctx, in.Header, err)
	}
}

// HandleDirect serves one dial that arrived at this agent's own listener. proxy
// is the verified identity of the TLS peer; any host but a proxy is refused.
func (a *Agent) HandleDirect(ctx context.Context, c net.Conn, proxy *types.Identity) error {
	defer c.Close()
	in, err := dial.ReadInbound(c, proxy)
	if err != nil {
		return errors.Join(err, dial.Refuse(c, err))
	}
	if err := a.serve(ctx, in); err != nil {
		a.log(ctx, in.Header, err)
	}
	return nil
}

func (a *Agent) serve(ctx context.Context, in *dial.Inbound) error {
	s, err := a.admit(in)
	if err != nil {
		return errors.Join(err, in.Refuse(err))
	}
	if in.Header.Verb == tunframe.Attach {
		return a.attach(ctx, in)
	}
	reply := dial.Reply{AgentUUID: a.o.UUID, Generation: a.o.Generation, Hostname: a.o.Hostname}
	if !a.offers(in) {
		if err := in.Accept(reply); err != nil {
			return err
		}
		return s.Serve(ctx, in)
	}
	reply.Resume, reply.Keep = true, int(a.o.Streams.Timeout.Seconds())
	if err := in.Accept(reply); err != nil {
		return err
	}
	return a.open(s, in)
}

// admit checks what can be known before the client has proved who it is. A lock
// on this host closes it, and one on a proxy ends that proxy's word here.
func (a *Agent) admit(in *dial.Inbound) (Service, error) {
	h := in.Header
	switch {
	case h.Cluster != "" && h.Cluster != a.o.Cluster:
		return nil, fault.New(fault.Denied, "this agent belongs to the cluster %q, not to %q", a.o.Cluster, h.Cluster)
	case h.AgentUUID != a.o.UUID:
		return nil, fault.New(fault.NotFound, "this agent is %s, and the dial names %q", a.o.UUID, h.AgentUUID)
	case h.Verb == tunframe.Attach && a.holder == nil:
		return nil, fault.New(fault.Unimplemented, "this agent cannot resume streams")
	}
	s := a.services[h.Kind]
	if s == nil || !s.Fronts(h.Name) {
		return nil, fault.New(fault.NotFound, "this agent does not front the %s %q", h.Kind, h.Name)
	}
	for _, host := range []string{a.o.UUID, in.Proxy.Name} {
		if err := a.locked(host); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (a *Agent) log(ctx context.Context, h dial.Header, err error) { dial.LogEnd(ctx, a.o.Log, h, err) }
