package authserver

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"teleport/auth/admincert"
	"teleport/auth/authapi"
	"teleport/auth/ca"
	"teleport/auth/inventory"
	"teleport/auth/login"
	"teleport/auth/recordings"
	"teleport/auth/recsearch"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/join"
	"teleport/keys"
	"teleport/keystore"
	"teleport/store"
	"teleport/types"
)

// Server is the auth service. Everything that it is made of exists after New;
// Serve runs it.
type Server struct {
	c        Config
	cluster  string
	store    *store.Store
	replica  *store.Replica
	initial  *cert.Trust // until the replica is there
	issuer   *ca.Issuer
	inv      *inventory.Inventory
	keys     *recordings.Keys    // nil: no recordings are kept
	records  *recordings.Service // nil: no recordings are kept
	screens  *recsearch.Service  // their index; nil: no recordings are kept
	api      *authapi.API
	listener *Listener
	own      atomic.Pointer[tls.Certificate]
	key      crypto.Signer
}

// New bootstraps the cluster where that is still to do and makes the service. It
// starts nothing, but writes to the backend and to the data directory.
func New(ctx context.Context, c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	keys, err := recordingKeys(ctx, &c)
	if err != nil {
		return nil, err
	}
	s := &Server{c: c, keys: keys, store: store.New(c.Backend, store.Options{Validate: validate, Now: c.Now})}
	cluster, authorities, err := bootstrap(ctx, &c, s.store)
	if err != nil {
		return nil, err
	}
	s.cluster = cluster
	if s.initial, err = cert.NewTrust(authorities); err != nil {
		return nil, err
	}
	s.replica = store.NewReplica(s.store, types.PolicyKinds(), store.ReplicaOptions{Log: c.Log, Now: c.Now})
	s.issuer, err = ca.NewIssuer(ca.Config{Cluster: cluster, Keys: c.Keystore, Trust: s.Trust,
		Policy:      authapi.Accounts{Store: s.store, Policy: s.replica, Now: c.Now},
		Generations: ca.NewBackendGenerations(c.Backend), Events: c.Events, Now: c.Now, HostTTL: c.HostTTL})
	if err != nil {
		return nil, err
	}
	if err := s.renew(ctx); err != nil {
		return nil, err
	}
	return s, s.assemble()
}

// recordingKeys opens the keys of recordings, where those are kept.
func recordingKeys(ctx context.Context, c *Config) (*recordings.Keys, error) {
	sealer, ok := c.Keystore.(keystore.Sealer)
	if c.Blobs == nil || !ok {
		return nil, nil //nolint:nilnil // no recordings, no keys
	}
	keys, err := recordings.EnsureKeys(ctx, c.Backend, sealer)
	if err == nil {
		c.recordingKeys = keys.Published()
	}
	return keys, err
}

// publishKeys names the newest recording key to those who record.
func (s *Server) publishKeys(ctx context.Context) error {
	return publishKeys(ctx, s.keys.Published(), s.store)
}

// keepRecordings makes the service of recordings, where they are kept.
func (s *Server) keepRecordings() error {
	c := s.c
	if s.keys == nil {
		return nil
	}
	var err error
	s.screens, err = recsearch.New(recsearch.Deps{Blobs: c.Blobs, Keys: s.keys.Own(), Dir: filepath.Join(c.DataDir, "log", "index"), Log: c.Log})
	if err != nil {
		return err
	}
	s.records, err = recordings.New(recordings.Deps{Dir: filepath.Join(c.DataDir, "log", "uploads"), Blobs: c.Blobs, Backend: c.Backend,
		Painter: s.screens, Stored: s.screens.Stored, Keys: s.keys, Presence: s.inv, Events: c.Events, Log: c.Log, Now: c.Now})
	return err
}

// assemble makes the columns of the service and its API.
func (s *Server) assemble() error {
	c := s.c
	gate, err := join.NewGate(store.Of[*types.Token](s.store), c.Events, c.Now, c.Methods...)
	if err != nil {
		return err
	}
	self := &types.AuthServer{Header: types.Header{Kind: types.KindAuthServer, Version: "v2", Metadata: types.Metadata{Name: c.HostUUID}}}
	self.Spec = types.ServerSpec{Hostname: c.Hostname, Addr: c.Addr, ServerVersion: c.Version, Generation: c.Generation}
	s.inv = inventory.New(inventory.Deps{Store: s.store, Events: c.Events, Log: c.Log, Self: self, Now: c.Now})
	logins := login.New(login.Deps{Store: s.store, Events: c.Events, Log: c.Log, Cluster: s.cluster, Now: c.Now,
		Issuer: authapi.LoginIssuer{Issuer: s.issuer, Locks: s.replica.Locks, Trust: s.Trust, Now: c.Now}})
	if err := s.keepRecordings(); err != nil {
		return err
	}
	var search authapi.RecordingSearcher
	if s.screens != nil {
		search = s.screens
	}
	s.api, err = authapi.New(authapi.Deps{
		Cluster: s.cluster, AuthID: c.HostUUID, Version: c.Version, Storage: c.Storage,
		Store: s.store, Policy: s.replica, Trust: s.Trust, Issuer: s.issuer, Login: logins, Inventory: s.inv, Gate: gate,
		Recordings: s.records, RecordingKeys: s.keys, PublishKeys: s.publishKeys, Search: search,
		Audit: c.Audit, Events: c.Events, Log: c.Log, PublicAddr: c.PublicAddr, Limits: c.Limits, Now: c.Now,
	})
	if err != nil {
		return err
	}
	s.listener = NewListener(s.Source(), s.api, c.Log)
	return nil
}

// Cluster is the cluster's name.
func (s *Server) Cluster() string { return s.cluster }

// Trust is what the cluster trusts at the moment.
func (s *Server) Trust() *cert.Trust {
	select {
	case <-s.replica.Ready():
		return s.replica.Trust()
	default:
		return s.initial
	}
}

// Store is the cluster's state, for other services of the auth process.
func (s *Server) Store() *store.Store { return s.store }

// Replica is the policy that the auth service decides from.
func (s *Server) Replica() *store.Replica { return s.replica }

// Source is the auth service's own end of TLS.
func (s *Server) Source() tlscert.Source {
	return tlscert.Source{Certificate: s.own.Load, Trust: s.Trust, Now: s.c.Now}
}

// SelfIssue certifies the process that the auth service is part of, with all its
// roles: such a process needs no join token. Auth is always among the roles.
func (s *Server) SelfIssue(ctx context.Context, k ca.Keys, roles ...types.SystemRole) (ca.Certs, error) {
	return s.issuer.Issue(ctx, ca.Request{Profile: ca.ProfileHostSelf, Subject: ca.Process{}, Keys: k,
		Host: ca.Host{UUID: s.c.HostUUID, Hostname: s.c.Hostname, Principals: s.c.Principals,
			SystemRoles: append([]types.SystemRole{types.RoleAuth}, roles...)}})
}

// Serve runs the service on the listeners until ctx ends or a part fails. It
// closes the listeners. Clients are served once the policy is complete.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.replica.Serve(ctx) })
	g.Go(func() error { return s.inv.Serve(ctx) })
	if s.records != nil {
		s.screens.Use(s.records)
		g.Go(func() error { return s.screens.Serve(ctx) })
		g.Go(func() error { return errors.Join(s.records.Serve(ctx), s.records.Close()) })
		g.Go(func() error { return s.keys.Serve(ctx, s.publishKeys) })
	}
	g.Go(func() error {
		changes, stop := s.replica.Subscribe()
		defer stop()
		return s.api.Serve(ctx, changes)
	})
	g.Go(func() error { return s.keepRenewed(ctx) })
	g.Go(func() error {
		select {
		case <-s.replica.Ready():
		case <-ctx.Done():
		}
		return s.listener.Serve(ctx, listeners...)
	})
	return g.Wait()
}

// keepRenewed replaces the certificates of this service at a quarter of their
// life, and tries again soon after a failure.
func (s *Server) keepRenewed(ctx context.Context) error {
	const soon = time.Minute
	usual := min(ca.AdminTTL, cmp.Or(s.c.HostTTL, ca.HostTTL)) / 4
	timer := time.NewTimer(usual)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		next := usual
		if err := s.renew(ctx); err != nil && ctx.Err() == nil {
			s.c.Log.WarnContext(ctx, "the auth service's certificates were not renewed", "error", err)
			next = soon
		}
		timer.Reset(next)
	}
}

// renew issues the listener's certificate and the local administrator's.
func (s *Server) renew(ctx context.Context) error {
	var err error
	if s.key == nil {
		if s.key, err = s.newKey(); err != nil {
			return err
		}
	}
	certs, err := s.SelfIssue(ctx, ca.Keys{TLS: s.key.Public()})
	if err != nil {
		return err
	}
	block, _ := pem.Decode(certs.TLS)
	if block == nil {
		return fault.New(fault.Internal, "the auth service got no certificate")
	}
	s.own.Store(&tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: s.key})
	if s.c.DataDir == "" {
		return nil
	}
	return s.renewAdmin(ctx)
}

func (s *Server) renewAdmin(ctx context.Context) error {
	key, err := s.newKey()
	if err != nil {
		return err
	}
	certs, err := s.issuer.Issue(ctx, ca.Request{Profile: ca.ProfileAdmin, Subject: ca.Process{}, Keys: ca.Keys{TLS: key.Public()},
		Host: ca.Host{UUID: s.c.HostUUID, Hostname: s.c.Hostname}})
	if err != nil {
		return err
	}
	private, err := keys.MarshalPrivate(key)
	if err != nil {
		return err
	}
	return admincert.Write(s.c.DataDir, admincert.Admin{Cluster: s.cluster, Key: private, Certificate: certs.TLS,
		Authorities: s.Trust().Authorities()})
}

func (s *Server) newKey() (crypto.Signer, error) {
	alg, err := keys.AlgorithmFor(s.c.Suite, keys.HostTLS)
	if err != nil {
		return nil, err
	}
	return keys.Generate(alg)
}
