package assembly

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"teleport/keys"
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
	for _, d := range p.cfg.DB.Databases {
		if speaks[d.Spec.Protocol] == nil {
			return fault.New(fault.Invalid, "db_service.databases %q: this version does not speak %s", d.Metadata.Name, d.Spec.Protocol).
				WithHint("it speaks %s", strings.Join(slices.Sorted(maps.Keys(speaks)), ", "))
		}
	}
	fronted, err := newFronted(p, p.frontableDatabases(speaks))
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
	fronted.run(ctx)
	return nil
}

// frontableDatabases is what this agent knows of databases.
func (p *Process) frontableDatabases(speaks map[string]dbaccess.Engine) frontable[*types.Database] {
	return frontable[*types.Database]{
		kind: types.KindDatabase, what: "databases", file: p.cfg.DB.Databases, matchers: p.cfg.DB.Matchers,
		registered: func() []*types.Database { return p.replica.Databases() },
		serves:     func(d *types.Database) bool { return speaks[d.Spec.Protocol] != nil },
		copy:       func(d *types.Database) *types.Database { own := *d; return &own },
		dynamic:    func(d *types.Database) *map[string]types.CommandLabel { return &d.Spec.DynamicLabels },
		server: func(d *types.Database, host, hostname string, health types.TargetHealth) types.FrontedServer {
			return &types.DatabaseServer{Spec: types.DatabaseServerSpec{HostID: host, Hostname: hostname, Version: types.Release, Database: *d},
				Status: types.DatabaseServerStatus{TargetHealth: health}}
		},
		address: func(d *types.Database) (string, error) { return d.Spec.Address() },
	}
}

var _ agentd.Service = (*dbaccess.Service)(nil)

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
