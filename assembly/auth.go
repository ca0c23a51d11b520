package assembly

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"teleport/api/gen/joinv1"
	"teleport/audit"
	"teleport/auth/admincert"
	"teleport/auth/authserver"
	"teleport/auth/ca"
	"teleport/backend/sqlitekv"
	"teleport/builtin/blobs"
	"teleport/builtin/joins"
	"teleport/config"
	"teleport/fault"
	"teleport/keys"
	"teleport/keystore/softkeys"
	"teleport/lifecycle"
	"teleport/member"
	"teleport/store"
	"teleport/telemetry"
	"teleport/types"
	"teleport/wholefile"
)

// authUnit is the auth service of a process. It can be released before the rest
// of the process ends, so that the next generation takes the store over.
type authUnit struct {
	p    *Process
	ln   net.Listener
	uuid string

	mu      sync.Mutex
	run     context.CancelFunc // ends the service that runs now
	ended   chan struct{}      // closed when it has
	leaving bool
	again   chan struct{} // the service shall run again: the next generation failed
}

// authRun is one run of the auth service over the open store.
type authRun struct {
	server *authserver.Server
	log    *audit.Log
	kv     *sqlitekv.KV
	once   sync.Once // it is closed by what served it, or by the end of a process that never did
}

func (p *Process) buildAuth(ctx context.Context) error {
	uuid, err := member.EnsureHostUUID(p.cfg.DataDir)
	if err != nil {
		return err
	}
	ln, err := p.gen.Listen(ctx, p.cfg.Auth.ListenAddr)
	if err != nil {
		return err
	}
	if err := p.gen.AcquireStore(ctx); err != nil {
		return err
	}
	u := &authUnit{p: p, ln: ln, uuid: uuid, again: make(chan struct{}, 1)}
	p.auth = u
	run, err := u.open(ctx, true)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, run.close)
	if err := u.certify(ctx, run.server); err != nil {
		return err
	}
	p.health.expect("auth")
	p.group.Add(lifecycle.Service{Name: "auth", Ready: run.server.Replica().Ready(), Serve: func(ctx context.Context) error {
		return u.serve(ctx, run)
	}})
	p.via = directRoute(localAddr(ln.Addr()))
	return nil
}

// open opens the store and makes the service over it. first says that this is
// the process's own start, not a return after a failed replacement.
func (u *authUnit) open(ctx context.Context, first bool) (*authRun, error) {
	p, c := u.p, u.p.cfg.Auth
	kv, err := sqlitekv.Open(ctx, sqlitekv.Options{Path: filepath.Join(c.StoragePath, "teleport.sqlite"), Sync: syncMode(c.StorageSync), Log: p.log})
	if err != nil {
		return nil, err
	}
	r := &authRun{kv: kv}
	docs := store.New(kv, store.Options{})
	cluster, err := storedName(ctx, docs)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	known := cluster != ""
	if !known {
		if err := freshStart(p.cfg.DataDir, c.StoragePath); err != nil {
			return nil, errors.Join(err, r.close())
		}
		cluster = firstOf(c.ClusterName, p.cfg.Nodename)
	}
	if first {
		if err := p.openWriter(u.uuid, cluster); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	kek, err := sealingKey(p.dir("proc", "keystore.key"), known)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	ks, err := softkeys.New(kv, kek)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	signer, err := logSigner(ctx, kv, ks)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	w := witness{store.Of[*types.AuditCheckpoint](docs)}
	published, err := w.published(ctx)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.log, err = audit.OpenLog(audit.LogOptions{Dir: p.dir("log", "blocks"), Cluster: cluster, Signer: signer, Emitter: p.writer,
		Publish: w.publish, Published: published, Log: p.log})
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	records, err := blobs.Open(ctx, c.Sessions)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	cfg := u.config(kv, ks, r.log)
	cfg.Blobs = records
	r.server, err = authserver.New(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (u *authUnit) config(kv *sqlitekv.KV, ks *softkeys.Keys, log *audit.Log) authserver.Config {
	p, c := u.p, u.p.cfg.Auth
	out := authserver.Config{ClusterName: c.ClusterName, HostUUID: u.uuid, Hostname: p.cfg.Nodename, Principals: p.principals(),
		Addr: localAddr(u.ln.Addr()), DataDir: p.cfg.DataDir, Version: types.Release, Storage: "sqlite", Generation: p.number,
		Backend: kv, Keystore: ks, Suite: keys.Suite(c.Preference.Spec.SignatureAlgorithmSuite), Audit: log, Events: p.writer,
		Methods: joins.Methods(), Log: p.log, Now: p.clock.Now, PublicAddr: p.publicAddr, Settings: fixedSettings(c)}
	for _, t := range c.Tokens {
		out.StaticTokens = append(out.StaticTokens, authserver.StaticToken{Roles: t.Roles, Secret: t.Secret})
	}
	return out
}

// fixedSettings are the settings of which the file says anything.
func fixedSettings(a *config.Auth) []types.Resource {
	var list []types.Resource
	for _, kind := range a.FileOrigin {
		switch kind {
		case types.KindAuthPreference:
			list = append(list, a.Preference)
		case types.KindNetworkingConfig:
			list = append(list, a.Networking)
		case types.KindRecordingConfig:
			list = append(list, a.Recording)
		}
	}
	return list
}

// certify gives this process the identity that its auth service issues.
func (u *authUnit) certify(ctx context.Context, s *authserver.Server) error {
	m := u.p.member
	k, err := m.GenerateKeys()
	if err != nil {
		return err
	}
	sshKey, tlsKey, err := k.Public()
	if err != nil {
		return err
	}
	certs, err := s.SelfIssue(ctx, ca.Keys{SSH: sshKey, TLS: tlsKey}, u.p.roles()...)
	if err != nil {
		return err
	}
	resp := &joinv1.JoinResponse{HostUuid: u.uuid, Cluster: s.Cluster(), SshCert: certs.SSH, TlsCert: certs.TLS}
	for _, doc := range s.Trust().Authorities() {
		b, err := json.Marshal(doc)
		if err != nil {
			return err
		}
		resp.Authorities = append(resp.Authorities, b)
	}
	return m.Adopt(ctx, k, resp)
}

// serve runs the service until ctx ends. When it is released for a next
// generation it waits for the outcome of that, and runs again if it failed.
func (u *authUnit) serve(ctx context.Context, run *authRun) error {
	for {
		err := u.serveOnce(ctx, run)
		u.mu.Lock()
		leaving := u.leaving
		u.mu.Unlock()
		if leaving && err != nil {
			// The next generation has the service by now; the sessions here live on.
			u.p.log.Error("the auth service did not end cleanly", telemetry.KeyErr, err)
			err = nil
		}
		if ctx.Err() != nil || err != nil || !leaving {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-u.again:
		}
		if run, err = u.open(ctx, false); err != nil {
			return err
		}
		u.p.log.Info("the auth service runs again in this process")
	}
}

func (u *authUnit) serveOnce(ctx context.Context, run *authRun) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	u.mu.Lock()
	u.run, u.ended = cancel, ended
	u.mu.Unlock()
	ln, err := shareListener(u.ln)
	if err != nil {
		return errors.Join(err, run.close())
	}
	u.p.health.report("auth", true)
	err = runAll(ctx,
		func(ctx context.Context) error { return run.kv.Serve(ctx) },
		func(ctx context.Context) error { return run.log.Serve(ctx) },
		func(ctx context.Context) error { return run.server.Serve(ctx, ln) })
	u.p.health.report("auth", false)
	return errors.Join(err, run.close())
}

func (r *authRun) close() (err error) {
	r.once.Do(func() {
		if r.log != nil {
			err = r.log.Close()
		}
		err = errors.Join(err, r.kv.Close())
	})
	return err
}

// release ends the service and frees the store; it returns when both are done.
func (u *authUnit) release() error {
	u.mu.Lock()
	u.leaving = true
	run, ended := u.run, u.ended
	u.mu.Unlock()
	if run == nil {
		return fault.New(fault.Unavailable, "the auth service has not started yet")
	}
	run()
	<-ended
	return nil
}

// resume runs the service again after a replacement that failed.
func (u *authUnit) resume() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.leaving {
		u.leaving = false
		u.again <- struct{}{}
	}
}

// storedName is the cluster's name as fixed at the first start, "" before.
func storedName(ctx context.Context, s *store.Store) (string, error) {
	doc, err := store.Of[*types.ClusterName](s).Get(ctx, "")
	if errors.Is(err, fault.NotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return doc.Spec.ClusterName, nil
}

// freshStart refuses to begin a new cluster where an older one had its data: all
// agents and people would be locked out, and nobody would know why.
func freshStart(dataDir, storage string) error {
	if _, err := os.Stat(admincert.Path(dataDir)); err != nil {
		return nil
	}
	return fault.New(fault.Invalid, "the store in %s is empty, and %s belongs to a cluster that was started before", storage, dataDir).
		WithHint("Restore the store from a backup (storage.path says where it lies), or begin a new cluster with another data directory.")
}

// sealingKey is the key of this host under which CA keys lie in the store: a
// copy of the store alone signs nothing.
// It is made with the cluster, and never for one that is there.
func sealingKey(path string, exists bool) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		if len(b) != softkeys.KEKSize {
			return nil, fault.New(fault.Invalid, "the key file %s is damaged", path).WithHint("Restore it from a backup: without it the CA keys cannot be read.")
		}
		return b, nil
	}
	if exists || !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Advise(fault.Unreadable(err, path), "Restore it from a backup: without it the CA keys cannot be read.")
	}
	b = make([]byte, softkeys.KEKSize)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "cannot make %s", filepath.Dir(path))
	}
	return b, fault.Unwritable(wholefile.Write(path, b, 0o600), path)
}

func syncMode(s string) sqlitekv.Sync {
	if s == "NORMAL" {
		return sqlitekv.SyncNormal
	}
	return sqlitekv.SyncFull
}

func firstOf(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}
