package assembly

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"teleport/healthcheck"
	"teleport/lifecycle"
	"teleport/sshaccess/nodelabels"
	"teleport/store"
	"teleport/telemetry"
	"teleport/types"
)

// frontable is what fronted needs to know of the resources of one kind.
type frontable[T types.Fronted] struct {
	kind     string
	what     string // in the log
	file     []T    // those of the configuration
	matchers []types.Labels
	// registered returns the documents of the cluster; of these the matchers take some.
	registered func() []T
	// serves reports whether this version can front it.
	serves  func(T) bool
	copy    func(T) T // down to the dynamic labels, which are not copied
	dynamic func(T) *map[string]types.CommandLabel
	// server is the document by which this agent announces it.
	server func(of T, host, hostname string, health types.TargetHealth) types.FrontedServer
	// address is where its health is checked; not at all, where that is an error.
	address func(T) (string, error)
}

// fronted is what this agent fronts now of one kind.
type fronted[T types.Fronted] struct {
	p *Process
	k frontable[T]
	// labels run the commands of the file's resources: those of one are named
	// "resource label". A registered document has no command run here, as whoever
	// edits documents is not thereby root on every agent.
	labels *nodelabels.Runner
	health *healthcheck.Checker
	check  func(context.Context, T) error

	announcing sync.Mutex
	said       []byte // what was announced last
	mu         sync.Mutex
	// now is replaced whole, never changed.
	now []T
}

func newFronted[T types.Fronted](p *Process, k frontable[T]) (*fronted[T], error) {
	f := &fronted[T]{p: p, k: k, health: healthcheck.New(p.log)}
	commands := map[string]types.CommandLabel{}
	for _, d := range k.file {
		for name, l := range *k.dynamic(d) {
			commands[nameOf(d)+" "+name] = l
		}
	}
	var err error
	f.labels, err = nodelabels.New(commands, func() {
		if err := f.announce(); err != nil {
			p.log.Warn("changed labels of "+k.what+" were not announced", telemetry.KeyErr, err)
		}
	})
	return f, err
}

func nameOf(r types.Resource) string { return r.Head().Metadata.Name }

// run has what is fronted followed, labelled and checked while the process runs.
func (f *fronted[T]) run(ctx context.Context) {
	f.labels.RunOnce(ctx)
	f.p.group.Add(lifecycle.Service{Name: f.k.what, Serve: f.follow})
	f.p.group.Add(lifecycle.Service{Name: "labels of " + f.k.what, Serve: f.labels.Serve})
	f.p.group.Add(lifecycle.Service{Name: "health of " + f.k.what, Serve: f.health.Serve})
}

func (f *fronted[T]) list() []T {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// find returns one by name; ok is false when there is none. A nil f fronts nothing.
func (f *fronted[T]) find(name string) (found T, ok bool) {
	if f == nil {
		return found, false
	}
	for _, d := range f.list() {
		if nameOf(d) == name {
			return d, true
		}
	}
	return found, false
}

// follow keeps up with registered resources, and announces what is fronted.
func (f *fronted[T]) follow(ctx context.Context) error {
	changes, stop := f.p.replica.Subscribe()
	defer stop()
	for {
		if err := f.announce(); err != nil {
			f.p.log.Warn("the "+f.k.what+" of this agent were not announced", telemetry.KeyErr, err)
		}
		if !f.changes(ctx, changes) {
			return nil
		}
	}
}

// gather collects the resources of the file, and of those registered the ones that
// a selector takes. Where both have a name, it is the file's.
func (f *fronted[T]) gather() []T {
	var now []T
	values := f.labels.Labels()
	for _, d := range f.k.file {
		own := f.k.copy(d)
		dynamic := f.k.dynamic(own)
		*dynamic = maps.Clone(*dynamic)
		for name := range *dynamic {
			(*dynamic)[name] = values[nameOf(d)+" "+name]
		}
		now = append(now, own)
	}
	for _, d := range f.k.registered() {
		if slices.ContainsFunc(now, func(x T) bool { return nameOf(x) == nameOf(d) }) || !f.k.serves(d) {
			continue
		}
		own := f.k.copy(d)
		*f.k.dynamic(own) = nil
		own.Head().Metadata.Revision, own.Head().Metadata.Expires = "", nil
		if slices.ContainsFunc(f.k.matchers, func(m types.Labels) bool { return matches(m, own.AllLabels()) }) {
			now = append(now, own)
		}
	}
	return now
}

func (f *fronted[T]) announce() error {
	f.announcing.Lock() // two at once would leave the older word as the last
	defer f.announcing.Unlock()
	now := f.gather()
	f.mu.Lock()
	f.now = now
	f.mu.Unlock()
	f.watch(now)
	id := f.p.member.Identity()
	docs := make([]types.Resource, 0, len(now))
	for _, d := range now {
		s := f.k.server(d, id.Name, f.p.cfg.Nodename, f.health.Health(nameOf(d)))
		s.Head().Metadata.Name = types.ServerName(nameOf(d), id.Name)
		if err := s.Validate(); err != nil {
			return err
		}
		docs = append(docs, s)
	}
	text, err := json.Marshal(docs)
	if err != nil || bytes.Equal(text, f.said) {
		return err // any change of the policy wakes this
	}
	if err := f.p.presence.set(f.k.kind, docs...); err != nil {
		return err
	}
	f.said = text
	return nil
}

// matches reports whether labels have each key of a selector with one of its values.
func matches(m types.Labels, labels map[string]string) bool {
	for key, values := range m {
		if key == types.Wildcard && slices.Contains(values, types.Wildcard) {
			continue
		}
		v, ok := labels[key]
		if !ok || !slices.Contains(values, v) && !slices.Contains(values, types.Wildcard) {
			return false
		}
	}
	return true
}

// healthGather is how long a change of health waits for others: those of an agent
// that starts, or loses its network, come together, and are announced in one.
const healthGather = 200 * time.Millisecond

// watch has the resources checked as the cluster says. Before anything is known of
// that, nothing is.
func (f *fronted[T]) watch(now []T) {
	select {
	case <-f.p.replica.Ready():
	default:
		return
	}
	configs := store.Every[*types.HealthCheckConfig](f.p.replica)
	targets := make([]healthcheck.Target, 0, len(now))
	for _, d := range now {
		addr, err := f.k.address(d)
		if err != nil {
			continue // a cloud, or Validate has seen it
		}
		targets = append(targets, healthcheck.Target{Name: nameOf(d), Addr: addr,
			Plan:  healthcheck.PlanFor(configs, f.k.kind, d.AllLabels(), f.p.decisions),
			Check: func(ctx context.Context) error { return f.check(ctx, d) }})
	}
	f.health.Set(targets)
}

// changes waits until there may be something to announce, and reports false when
// ctx ends first.
func (f *fronted[T]) changes(ctx context.Context, policy <-chan struct{}) bool {
	select {
	case <-policy:
		return true
	case <-f.health.Changed():
		return lifecycle.Sleep(ctx, healthGather) == nil
	case <-ctx.Done():
		return false
	}
}
