package assembly

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"teleport/agent/agentd"
	"teleport/api/gen/issuev1"
	"teleport/builtin/engines"
	"teleport/cloud/awscloud"
	"teleport/cloud/azurecloud"
	"teleport/cloud/gcpcloud"
	"teleport/dbaccess"
	"teleport/dbaccess/cloudlogin"
	"teleport/fault"
	"teleport/healthcheck"
	"teleport/keys"
	"teleport/lifecycle"
	"teleport/sshaccess/nodelabels"
	"teleport/telemetry"
	"teleport/types"
)

// buildDB makes the database service: what its file names and what is registered
// with labels that it looks for.
func (p *Process) buildDB(ctx context.Context) error {
	id := p.member.Identity()
	record, err := p.recorder(false)
	if err != nil {
		return err
	}
	aws := &awscloud.Cloud{}
	logins := &cloudlogin.Clouds{AWS: aws, Google: gcpcloud.New(gcpcloud.Options{}), Azure: azurecloud.New(azurecloud.Options{})}
	speaks := engines.All(aws)
	fronted, err := newFronted(p, speaks)
	if err != nil {
		return err
	}
	service, err := dbaccess.New(dbaccess.Config{HostID: id.Name, Hostname: p.cfg.Nodename, Cluster: id.Cluster,
		Databases: fronted.list, Engines: speaks, TLS: p.member.Source(), Policy: p.replica,
		Credentials: &databaseLogins{p: p, minted: map[mintKey]*minting{}, clouds: logins}, Audit: p.writer, Sessions: p.sessions, Recorder: record,
		Dialer: &net.Dialer{}, Log: p.log, Cache: p.decisions})
	if err != nil {
		return err
	}
	p.services = append(p.services, service)
	p.databases, fronted.check = fronted, service.Check
	fronted.labels.RunOnce(ctx)
	p.group.Add(lifecycle.Service{Name: "databases", Serve: fronted.follow})
	p.group.Add(lifecycle.Service{Name: "labels of databases", Serve: fronted.labels.Serve})
	p.group.Add(lifecycle.Service{Name: "health of databases", Serve: fronted.health.Serve})
	return nil
}

var _ agentd.Service = (*dbaccess.Service)(nil)

// frontedDatabases is what this agent fronts now.
type frontedDatabases struct {
	p      *Process
	speaks map[string]dbaccess.Engine
	// labels run the commands of the file's databases: those of one are named
	// "database label". A registered document has no command run here, as whoever
	// edits documents is not thereby root on every agent.
	labels *nodelabels.Runner
	health *healthcheck.Checker
	check  func(context.Context, *types.Database) error

	announcing sync.Mutex
	said       []byte // what was announced last
	mu         sync.Mutex
	// now is replaced whole, never changed.
	now []*types.Database
}

func newFronted(p *Process, speaks map[string]dbaccess.Engine) (*frontedDatabases, error) {
	f := &frontedDatabases{p: p, speaks: speaks, health: healthcheck.New(p.log)}
	commands := map[string]types.CommandLabel{}
	for _, d := range p.cfg.DB.Databases {
		if speaks[d.Spec.Protocol] == nil {
			return nil, fault.New(fault.Invalid, "db_service.databases %q: this version does not speak %s", d.Metadata.Name, d.Spec.Protocol).
				WithHint("it speaks %s", strings.Join(slices.Sorted(maps.Keys(speaks)), ", "))
		}
		for name, l := range d.Spec.DynamicLabels {
			commands[d.Metadata.Name+" "+name] = l
		}
	}
	var err error
	f.labels, err = nodelabels.New(commands, func() {
		if err := f.announce(); err != nil {
			p.log.Warn("changed labels of databases were not announced", telemetry.KeyErr, err)
		}
	})
	return f, err
}

func (f *frontedDatabases) list() []*types.Database {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// find returns one by name, nil when there is none. A nil f fronts nothing.
func (f *frontedDatabases) find(name string) *types.Database {
	if f == nil {
		return nil
	}
	for _, d := range f.list() {
		if d.Metadata.Name == name {
			return d
		}
	}
	return nil
}

// follow keeps up with registered databases, and announces what is fronted.
func (f *frontedDatabases) follow(ctx context.Context) error {
	changes, stop := f.p.replica.Subscribe()
	defer stop()
	for {
		if err := f.announce(); err != nil {
			f.p.log.Warn("the databases of this agent were not announced", telemetry.KeyErr, err)
		}
		if !f.changes(ctx, changes) {
			return nil
		}
	}
}

// gather collects the databases of the file, and of those registered the ones
// that a selector takes. Where both have a name, it is the file's.
func (f *frontedDatabases) gather() []*types.Database {
	var now []*types.Database
	values := f.labels.Labels()
	for _, d := range f.p.cfg.DB.Databases {
		own := *d
		own.Spec.DynamicLabels = maps.Clone(d.Spec.DynamicLabels)
		for name := range own.Spec.DynamicLabels {
			own.Spec.DynamicLabels[name] = values[d.Metadata.Name+" "+name]
		}
		now = append(now, &own)
	}
	for _, d := range f.p.replica.Databases() {
		if slices.ContainsFunc(now, func(x *types.Database) bool { return x.Metadata.Name == d.Metadata.Name }) || f.speaks[d.Spec.Protocol] == nil {
			continue
		}
		own := *d
		own.Spec.DynamicLabels = nil
		own.Metadata.Revision, own.Metadata.Expires = "", nil
		if slices.ContainsFunc(f.p.cfg.DB.Matchers, func(m types.Labels) bool { return matches(m, own.AllLabels()) }) {
			now = append(now, &own)
		}
	}
	return now
}

func (f *frontedDatabases) announce() error {
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
		s := &types.DatabaseServer{Spec: types.DatabaseServerSpec{HostID: id.Name, Hostname: f.p.cfg.Nodename, Version: types.Release, Database: *d},
			Status: types.DatabaseServerStatus{TargetHealth: f.health.Health(d.Metadata.Name)}}
		s.Metadata.Name = types.ServerName(d.Metadata.Name, id.Name)
		if err := s.Validate(); err != nil {
			return err
		}
		docs = append(docs, s)
	}
	text, err := json.Marshal(docs)
	if err != nil || bytes.Equal(text, f.said) {
		return err // any change of the policy wakes this
	}
	if err := f.p.presence.set("db", docs...); err != nil {
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

// databaseLogins mints what this agent logs in to databases with: once for each
// user and route, and again at half its life.
type databaseLogins struct {
	p      *Process
	mu     sync.Mutex
	minted map[mintKey]*minting
	clouds *cloudlogin.Clouds
}

// mintKey is what a certificate depends on. The user's own certificate is in it:
// a new login gets a new one.
type mintKey struct {
	cert               string
	database, user, db string
	makes              string // the user that is made by this one
}

// minting is one certificate, or its making.
type minting struct {
	done  chan struct{}
	cert  *tls.Certificate
	renew time.Time
	err   error
}

// Certificate implements dbaccess.Credentials.
func (l *databaseLogins) Certificate(ctx context.Context, x dbaccess.Login) (*tls.Certificate, error) {
	if x.Database.Spec.InCloud() {
		return nil, nil // it knows nothing of our authorities
	}
	key := mintKey{string(x.Certificate.Raw), x.Database.Metadata.Name, x.User, x.Name, x.Makes}
	l.mu.Lock()
	m := l.minted[key]
	if m == nil || m.over() {
		l.sweep()
		m = &minting{done: make(chan struct{})}
		l.minted[key] = m
		go func() {
			m.cert, m.renew, m.err = l.mint(context.WithoutCancel(ctx), x)
			close(m.done)
		}()
	}
	l.mu.Unlock()
	select {
	case <-m.done:
		return m.cert, m.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// over reports whether a certificate is past half its life, or was not made.
func (m *minting) over() bool {
	select {
	case <-m.done:
		return m.err != nil || !time.Now().Before(m.renew)
	default:
		return false
	}
}

// sweep forgets what is over. The caller holds l.mu.
func (l *databaseLogins) sweep() {
	for key, m := range l.minted {
		if m.over() {
			delete(l.minted, key)
		}
	}
}

const mintTimeout = 15 * time.Second

func (l *databaseLogins) mint(ctx context.Context, x dbaccess.Login) (*tls.Certificate, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, mintTimeout)
	defer cancel()
	algorithm, err := keys.AlgorithmFor(keys.DefaultSuite, keys.DatabaseClient)
	if err != nil {
		return nil, time.Time{}, err
	}
	key, err := keys.Generate(algorithm)
	if err != nil {
		return nil, time.Time{}, err
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, time.Time{}, err
	}
	now := time.Now()
	resp, err := l.p.client.DatabaseCert(ctx, &issuev1.DatabaseRequest{UserCert: x.Certificate.Raw, TlsPublic: pub,
		Database: x.Database.Metadata.Name, DbUser: cmp.Or(x.Makes, x.User), AsAdmin: x.Makes != "", DbName: x.Name, ClientAddr: x.Client.String()})
	if err != nil {
		return nil, time.Time{}, err
	}
	block, _ := pem.Decode(resp.TlsCert)
	if block == nil {
		return nil, time.Time{}, fault.New(fault.Internal, "the auth service sent no certificate")
	}
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}, now.Add(time.Unix(resp.ExpiresUnix, 0).Sub(now) / 2), nil
}

// Password implements dbaccess.Credentials: a database of one's own takes
// certificates, one in a cloud a token of that.
func (l *databaseLogins) Password(ctx context.Context, x dbaccess.Login) (string, error) {
	return l.clouds.Password(ctx, x)
}

// Authorities implements dbaccess.Credentials.
func (l *databaseLogins) Authorities() []byte {
	var all []byte
	for _, doc := range l.p.replica.Trust().Authorities() {
		if doc.Spec.Type == types.CADB {
			all = append(all, doc.Spec.Active.TLSCert...)
		}
	}
	return all
}
