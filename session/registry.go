package session

import (
	"context"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/types"
)

// Policy is where locks come from, and what tells of changes: a tick after each,
// and a function that ends the subscription.
type Policy interface {
	Subscribe() (<-chan struct{}, func())
	Locks() []*types.Lock
}

// Registry holds the live streams of a process. Its methods are safe for
// concurrent use.
type Registry struct {
	mu       sync.Mutex
	live     map[string]*Live
	leaving  bool // whom OnDrain names has been told
	draining bool
	onDrain  map[*func()]bool
	empty    chan struct{} // closed when draining and nothing is left
	now      func() time.Time
	epoch    time.Time // when the registry began; what idles is measured from here

	policy atomic.Pointer[Policy] // nil before Serve
}

// NewRegistry returns an empty registry. It starts nothing.
func NewRegistry() *Registry { return NewRegistryWithClock(time.Now) }

// NewRegistryWithClock is NewRegistry with the clock that decisions, deadlines
// and locks go by. Idle time is measured, and no clock that is set changes it.
func NewRegistryWithClock(now func() time.Time) *Registry {
	return &Registry{live: map[string]*Live{}, empty: make(chan struct{}), now: now, epoch: time.Now()}
}

// Live is a stream in the registry. Its owner calls Touch when bytes move and
// Close when the stream has ended.
type Live struct {
	info   Info
	reg    *Registry
	cancel func(reason error)
	last   atomic.Int64 // nanoseconds from the registry's epoch to the last Touch
	once   sync.Once
	mu     sync.Mutex // guards the timers and limits
	limits access.Limits
	idle   *time.Timer
	expiry *time.Timer
	closed bool
}

// Add files a live stream, and starts its deadline and idle timers. cancel is
// called at most once, on a goroutine of the registry, when the stream must end;
// it must not block for long. Add refuses while the process drains, and refuses
// a stream whose decision has already become a no.
func (r *Registry) Add(info Info, cancel func(reason error)) (*Live, error) {
	now := r.now()
	l := &Live{info: info, reg: r, cancel: cancel, limits: info.Limits}
	l.Touch()
	r.mu.Lock()
	if r.draining && info.Within == "" {
		r.mu.Unlock()
		return nil, fault.New(fault.Unavailable, "this process is shutting down and takes no new sessions")
	}
	if _, taken := r.live[info.ID]; taken || info.ID == "" {
		r.mu.Unlock()
		return nil, fault.New(fault.Internal, "a live session needs an id of its own")
	}
	r.live[info.ID] = l
	r.mu.Unlock()
	l.arm(now)
	// Policy may have changed between the caller's decision and the index.
	err := r.locked(l, now)
	if err == nil {
		err = l.decide(now)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// settle is how often streams are decided again without a tick: policy can turn
// with time alone, as a lock's view grows stale or a lock begins.
const settle = 5 * time.Second

// Serve decides every stream again after each tick, until ctx ends. From then on
// locks count by themselves, whatever a stream's own decision says: a lock on a
// process ends also what that process merely carries.
func (r *Registry) Serve(ctx context.Context, policy Policy) error {
	ticks, stop := policy.Subscribe()
	defer stop()
	r.policy.Store(&policy)
	r.Recheck()
	quiet := time.NewTicker(settle)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			r.Recheck()
		case _, ok := <-ticks:
			if !ok {
				return nil
			}
			r.Recheck()
		}
	}
}

// Recheck decides every live stream again and cuts those that are no longer
// allowed. It returns how many it cut.
func (r *Registry) Recheck() int {
	now := r.now()
	var ends []ending
	for _, l := range r.all() {
		err := r.locked(l, now)
		if err == nil {
			err = l.decide(now)
		}
		if err != nil {
			ends = append(ends, ending{l, err})
		}
	}
	return cutAll(ends)
}

// ending is a stream that must end, and why.
type ending struct {
	l      *Live
	reason error
}

// cutters is how many streams are cut at the same time.
const cutters = 512

// cutAll cuts the streams beside each other, so that one whose client has
// stopped reading holds up no other, and returns how many they were.
func cutAll(ends []ending) int {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(cutters, len(ends)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(ends)); i = next.Add(1) - 1 {
				ends[i].l.Cut(ends[i].reason)
			}
		})
	}
	wg.Wait()
	return len(ends)
}

// locked holds a stream against the locks in force, by everything that it is
// indexed by.
func (r *Registry) locked(l *Live, now time.Time) error {
	p := r.policy.Load()
	if p == nil {
		return nil
	}
	locks := (*p).Locks()
	if len(locks) == 0 {
		return nil
	}
	i := &l.info
	s := access.LockSubject{User: i.User, Roles: i.Roles, Login: i.Login, MFADevice: i.MFADevice, Device: i.DeviceID,
		WindowsDesktop: desktopOf(*i), AccessRequests: i.AccessRequests, Session: i.Session}
	hosts := i.HostIDs
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	for _, lock := range locks {
		if i.Within != "" && lock.Spec.Target.Session == "" {
			continue
		}
		for _, s.ServerID = range hosts {
			if access.LockInForce(lock, s, now) {
				return cut(CutLocked, "%s", access.LockText(lock))
			}
		}
	}
	return nil
}

// OnDrain has f called when the process begins to leave, or now if it has: for
// whoever would bring new streams over what is open. f must not block; the returned
// function takes it back.
func (r *Registry) OnDrain(f func()) (remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaving {
		f()
		return func() {}
	}
	if r.onDrain == nil {
		r.onDrain = map[*func()]bool{}
	}
	r.onDrain[&f] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.onDrain, &f)
	}
}

// Leave tells those whom OnDrain names that the process leaves. What is open goes on,
// and what its owners still open is taken.
func (r *Registry) Leave() {
	r.mu.Lock()
	told := r.onDrain
	r.leaving, r.onDrain = true, nil
	r.mu.Unlock()
	for f := range told {
		(*f)()
	}
}

// Drain refuses new streams and waits for the live ones until ctx ends; what is
// left then is cut, and what is within others with those. It returns how many had to
// be cut.
func (r *Registry) Drain(ctx context.Context) int {
	r.mu.Lock()
	if !r.draining {
		r.draining = true
		if len(r.live) == 0 {
			close(r.empty)
		}
	}
	r.mu.Unlock()
	r.Leave()
	select {
	case <-r.empty:
		return 0
	case <-ctx.Done():
	}
	var left []ending
	for _, l := range r.all() {
		if l.info.Within != "" {
			continue
		}
		left = append(left, ending{l, cut(CutDrain, "the server is shutting down")})
	}
	return cutAll(left)
}

// Snapshot lists the live streams, oldest first, without those within others.
func (r *Registry) Snapshot() []Snapshot {
	var out []Snapshot
	for _, l := range r.all() {
		if l.info.Within != "" {
			continue
		}
		l.mu.Lock()
		deadline := l.limits.Deadline
		l.mu.Unlock()
		out = append(out, Snapshot{
			ID: l.info.ID, Kind: l.info.Kind, User: l.info.User, Login: l.info.Login, Resource: l.info.Resource,
			ClientAddr: l.info.ClientAddr, Start: l.info.Start, LastActive: l.active().Round(0), Deadline: deadline,
		})
	}
	sort.Slice(out, func(i, j int) bool {
		if !out[i].Start.Equal(out[j].Start) {
			return out[i].Start.Before(out[j].Start)
		}
		return out[i].ID < out[j].ID
	})
	return out
}

// Len returns the number of live streams, without those within others.
func (r *Registry) Len() int {
	n := 0
	for _, l := range r.all() {
		if l.info.Within == "" {
			n++
		}
	}
	return n
}

func (r *Registry) all() []*Live {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Live, 0, len(r.live))
	for _, l := range r.live {
		out = append(out, l)
	}
	return out
}

func (r *Registry) remove(l *Live) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live[l.info.ID] != l {
		return
	}
	delete(r.live, l.info.ID)
	if r.draining && len(r.live) == 0 {
		close(r.empty)
	}
}

func desktopOf(i Info) string {
	if i.Kind == "desktop" {
		return i.Resource
	}
	return ""
}
