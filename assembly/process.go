// Package assembly turns a configuration into a running process: it makes the
// identity of the process, the replica it decides from, the audit writer, and
// the services that the configuration asks for, and hands them to lifecycle in
// the order in which they depend on each other. It holds no logic of its own
// beyond that order.
package assembly

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teleport/agent/agentd"
	"teleport/api/authclient"
	"teleport/audit"
	"teleport/config"
	"teleport/fault"
	"teleport/generation"
	"teleport/lifecycle"
	"teleport/member"
	"teleport/predicate"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshserver"
	"teleport/steady"
	"teleport/store"
	"teleport/telemetry"
	"teleport/types"
	"teleport/wholefile"
)

// maxDrain is how long sessions may live on after a graceful stop, and so the
// greatest age of a generation that was replaced; a fast stop cuts them first.
const maxDrain = 30 * time.Hour

// maxReplace is how long a new generation may take until it is ready. While it
// has the store, nobody answers for auth.
const maxReplace = time.Minute

// errDraining is why services of a leaving process are told to stop.
var errDraining = errors.New("the process drains")

// Options are what a process is made of.
type Options struct {
	Config     *config.Config
	Generation *generation.Process
	Log        *slog.Logger
	Level      *slog.LevelVar
	// OnReady is called once, when every service of the process can do its work.
	OnReady func()
}

// Process is one teleport process. Make it with New, then call Serve once.
type Process struct {
	cfg     *config.Config
	gen     *generation.Process
	log     *slog.Logger
	level   *slog.LevelVar
	onReady func()

	number   uint64 // this generation
	metrics  *prometheus.Registry
	health   *health
	sessions *session.Registry
	trackers *session.Trackers
	slots    *session.Slots
	clock    *steady.Clock // of certificates, locks and leases
	group    *lifecycle.Group
	auth     *authUnit // nil where auth runs elsewhere

	member    *member.Member
	client    *authclient.Client
	replica   *store.Replica
	writer    *audit.Writer
	announcer *member.Announcer
	shipper   *audit.Shipper
	spool     *recorder.Spool // recordings of this process; nil where no sessions end
	presence  presence
	via       *route             // how this process reaches auth
	handOver  context.CancelFunc // ends the answers on diag_addr; nil without one
	debug     *debugSocket
	agent     *agentd.Agent             // nil without a service of an agent
	services  []agentd.Service          // of the agent
	node      *nodeDoc                  // nil without the SSH service
	databases *fronted[*types.Database] // nil without the database service
	apps      *fronted[*types.App]      // nil without the app service
	sshPort   func(*agentd.Agent) error
	decisions *predicate.Cache     // compiled role patterns, shared by all who decide here
	strangers *sshserver.Strangers // what the refused may write to the audit log
	closers   []func() error

	ready    chan struct{}   // closed when every service works
	leaving  context.Context // ends when the process shall drain
	leave    context.CancelCauseFunc
	hasty    context.Context // ends when what is left of its sessions shall end too
	hurry    context.CancelFunc
	leftOnce sync.Once
	tasks    sync.WaitGroup // what Serve waits for beside the group
}

// New prepares a process: the data directory is checked and the generation
// taken. Nothing runs yet.
func New(o Options) (*Process, error) {
	if err := prepareDataDir(o.Config.DataDir); err != nil {
		return nil, err
	}
	number, err := generation.Next(o.Config.DataDir)
	if err != nil {
		return nil, err
	}
	leaving, leave := context.WithCancelCause(context.Background())
	hasty, hurry := context.WithCancel(context.Background())
	state := newHealth()
	state.expect("services")
	clock := steady.New(func(by time.Duration) {
		o.Log.Warn("the clock of this machine was set back; what has ended stays ended here until it has caught up, or this process starts again", "by", by.Round(time.Second))
	})
	return &Process{cfg: o.Config, clock: clock, gen: o.Generation, log: o.Log, level: o.Level, onReady: o.OnReady, number: number,
		metrics: telemetry.NewRegistry(), health: state, sessions: session.NewRegistryWithClock(clock.Now), trackers: session.NewTrackers(),
		group: lifecycle.New(o.Log, maxDrain), decisions: predicate.NewCache(), ready: make(chan struct{}), leaving: leaving, leave: leave, hasty: hasty, hurry: hurry}, nil
}

// prepareDataDir makes the directory, and refuses one that others may write in
// or that cannot be written at all.
func prepareDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.Wrap(err, fault.Unavailable, "cannot make the data directory %s: %v", dir, reason(err))
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "cannot use the data directory %s: %v", dir, reason(err))
	}
	if info.Mode().Perm()&0o022 != 0 {
		return &fault.Error{Kind: fault.Invalid, Message: "others may write in the data directory " + dir, Hint: "Run: chmod 0700 " + dir}
	}
	probe, err := os.CreateTemp(dir, ".write-test.*")
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "cannot write in the data directory %s: %v", dir, reason(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// reason is the operating system's word for an error, without paths.
func reason(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// Serve runs the process until ctx ends (a fast stop: sessions are cut), Drain
// is called (a graceful one) or a service fails.
func (p *Process) Serve(ctx context.Context) error {
	defer p.leave(nil)
	defer p.hurry()
	defer p.close()
	cut := context.AfterFunc(ctx, p.cut)
	defer cut()
	if err := p.prepare(ctx); err != nil {
		if (ctx.Err() != nil || p.leaving.Err() != nil) && errors.Is(err, context.Canceled) {
			return nil // as it was told
		}
		return err
	}
	bye := context.AfterFunc(p.leaving, p.announcer.Drain)
	defer bye()
	life, end := context.WithCancel(p.leaving)
	defer p.tasks.Wait()
	defer end()
	p.tasks.Go(func() { p.whenReady(life) })
	return p.group.Serve(p.leaving)
}

// prepare builds the process; whoever stops it, gently or not, ends the waiting
// for a cluster that does not answer.
func (p *Process) prepare(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	stop := context.AfterFunc(p.leaving, end)
	defer stop()
	return p.build(ctx)
}

// whenReady tells the outside world and the previous generation, in this order:
// whoever waits for the old process's end must know the new one by then.
func (p *Process) whenReady(ctx context.Context) {
	select {
	case <-p.group.Ready():
	case <-ctx.Done():
		return
	}
	if err := p.writePID(); err != nil {
		p.log.Warn("no pid file", telemetry.KeyErr, err)
	}
	if p.debug != nil {
		if err := p.debug.publish(); err != nil {
			p.log.Warn("the debug socket keeps a name of its own", telemetry.KeyErr, err)
		}
	}
	p.health.report("services", true)
	p.log.Info("ready", "services", p.cfg.String(), "generation", p.number)
	if p.onReady != nil {
		p.onReady()
	}
	if err := p.gen.Ready(); err != nil {
		// It would have drained for us; its supervisor starts another beside us now.
		p.log.Error("this process stops", telemetry.KeyErr, err)
		p.cut()
		return
	}
	close(p.ready)
}

// Leaving tells balancers, by /readyz, that this process is about to stop; it
// still takes work.
func (p *Process) Leaving() { p.health.drain() }

// Drain stops gracefully: no new work, sessions live on until they end.
func (p *Process) Drain() {
	p.leftOnce.Do(func() {
		p.health.drain()
		p.log.Info("draining: no new work is taken", "sessions", p.sessions.Len())
		p.leave(errDraining)
		p.sessions.Leave()
	})
}

// cut ends every session and then the process, and passes the word to older
// generations that still drain.
func (p *Process) cut() {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if n := p.sessions.Drain(now); n > 0 {
		p.log.Info("stopping: sessions were cut", "sessions", n)
	}
	p.hurry()
	p.gen.StopPrevious()
	p.Drain()
	if p.agent != nil {
		p.agent.Cut()
	}
}

// Replace starts the next generation of this process and drains this one. On an
// error this one goes on as it was, its auth service included.
func (p *Process) Replace(ctx context.Context) error {
	select {
	case <-p.ready:
	default:
		return fault.New(fault.Unavailable, "this process is not ready yet: stop it and start it anew")
	}
	wait, cancel := context.WithTimeout(ctx, maxReplace)
	defer cancel()
	pid, err := p.gen.Replace(wait, p.releaseStore)
	if err != nil {
		if p.auth != nil && ctx.Err() == nil {
			p.auth.resume()
		}
		return err
	}
	p.log.Info("a new process took over", "pid", pid)
	if p.handOver != nil {
		p.handOver() // from now on the new one answers there, and only it
	}
	p.Drain()
	if p.gen.AwaitStop(ctx) {
		p.log.Info("the process that took over stops, and this one with it")
		p.cut()
	}
	return nil
}

func (p *Process) releaseStore() error {
	if p.auth == nil {
		return nil
	}
	return p.auth.release()
}

// build makes everything in the order of dependence.
func (p *Process) build(ctx context.Context) error {
	steps := []struct {
		wanted bool
		build  func(context.Context) error
	}{
		{true, p.buildDiagnostics},
		{true, p.buildMember},
		{p.cfg.Auth != nil, p.buildAuth},
		{p.cfg.Auth == nil, p.buildJoined},
		{true, p.buildShared},
		{p.cfg.Proxy != nil, p.buildProxy},
		{p.cfg.SSH != nil, p.buildSSH},
		{p.cfg.DB != nil, p.buildDB},
		{p.cfg.App != nil, p.buildApp},
		{true, p.buildAgent},
	}
	for _, s := range steps {
		if !s.wanted {
			continue
		}
		if err := s.build(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *Process) writePID() error {
	if p.cfg.PIDFile == "" {
		return nil
	}
	p.closers = append(p.closers, p.removePID)
	return fault.Unwritable(wholefile.Write(p.cfg.PIDFile, []byte(pidLine()), 0o644), p.cfg.PIDFile)
}

// removePID removes the file unless it names another generation by now.
func (p *Process) removePID() error {
	b, err := os.ReadFile(p.cfg.PIDFile)
	if err != nil || string(b) != pidLine() {
		return nil
	}
	return os.Remove(p.cfg.PIDFile)
}

// close releases what build made, newest first.
func (p *Process) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i](); err != nil {
			p.log.Warn("closing", telemetry.KeyErr, err)
		}
	}
}

// roles are the system roles of this process.
func (p *Process) roles() []types.SystemRole {
	roles := []types.SystemRole{types.RoleInstance}
	if p.cfg.Auth != nil {
		roles = append(roles, types.RoleAuth)
	}
	if p.cfg.Proxy != nil {
		roles = append(roles, types.RoleProxy)
	}
	if p.cfg.SSH != nil {
		roles = append(roles, types.RoleNode)
	}
	if p.cfg.DB != nil {
		roles = append(roles, types.RoleDb)
	}
	if p.cfg.App != nil {
		roles = append(roles, types.RoleApp)
	}
	return roles
}

// principals are the names besides its own that this host is known by.
func (p *Process) principals() []string {
	var list []string
	add := func(addrs []string) {
		for _, a := range addrs {
			if host, _, err := net.SplitHostPort(a); err == nil {
				a = host
			}
			list = append(list, a)
		}
	}
	if p.cfg.SSH != nil {
		add(p.cfg.SSH.PublicAddrs)
		if p.cfg.SSH.ListenAddr != "" {
			add([]string{p.sshHost()})
		}
	}
	if p.cfg.Proxy != nil {
		add(p.cfg.Proxy.PublicAddrs)
		add(p.cfg.Proxy.MySQLPublicAddrs)
	}
	if p.cfg.Auth != nil {
		add(p.cfg.Auth.PublicAddrs)
	}
	return list
}

func (p *Process) dir(parts ...string) string {
	return filepath.Join(append([]string{p.cfg.DataDir}, parts...)...)
}
