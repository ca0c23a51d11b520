package tctlcmd

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"time"

	"teleport/api/authclient"
	"teleport/auth/admincert"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/client"
	"teleport/client/identityfile"
	"teleport/client/profile"
	"teleport/config"
	"teleport/fault"
	"teleport/netx/alpndial"
	"teleport/types"
)

// connect finds a credential in the documented order: identity file, the auth
// host's own administrator, tsh login.
func (a *app) connect(ctx context.Context) (*authclient.Client, error) {
	identity := first(a.identity, a.Getenv("TELEPORT_IDENTITY_FILE"))
	server := first(a.auth, a.Getenv("TELEPORT_AUTH_SERVER"))
	if identity != "" {
		return a.byIdentity(ctx, identity, server)
	}
	host, err := a.localHost()
	if err != nil {
		return nil, err
	}
	if host != nil {
		return a.asAdmin(host, server)
	}
	return a.byProfile(ctx, server)
}

// localHost is the configuration of the auth service on this host, nil where
// this is none.
func (a *app) localHost() (*config.Config, error) {
	path := first(a.config, a.Getenv("TELEPORT_CONFIG_FILE"))
	var file *config.File
	var err error
	switch {
	case path != "":
		file, err = config.ReadFile(path)
	default:
		if _, missing := os.Stat(config.DefaultPath); missing == nil {
			file, err = config.ReadFile(config.DefaultPath)
		}
	}
	if err != nil {
		return nil, err
	}
	if file == nil {
		// A one-machine cluster without a file has its data in the default place.
		if _, err := os.Stat(admincert.Path(config.DefaultDataDir)); err != nil {
			return nil, nil //nolint:nilnil // not an auth host is a valid answer
		}
	}
	cfg, err := config.Build(file, config.Flags{})
	if err != nil {
		return nil, err
	}
	if cfg.Auth == nil {
		return nil, nil //nolint:nilnil // as above
	}
	return cfg, nil
}

func (a *app) asAdmin(host *config.Config, server string) (*authclient.Client, error) {
	admin, err := admincert.Load(host.DataDir)
	if err != nil {
		return nil, err
	}
	pair, trust, err := admin.TLS()
	if err != nil {
		return nil, err
	}
	if server == "" {
		server = loopback(host.Auth.ListenAddr)
	}
	return dialAuth(server, admin.Cluster, pair, trust)
}

func dialAuth(addr, cluster string, pair *tls.Certificate, trust *cert.Trust) (*authclient.Client, error) {
	src := tlscert.Source{Certificate: func() *tls.Certificate { return pair }, Trust: func() *cert.Trust { return trust }, Now: time.Now}
	conf, err := tlscert.ClientConfig(src, tlscert.Server{Cluster: cluster, Role: types.RoleAuth}, "h2")
	if err != nil {
		return nil, err
	}
	return authclient.New(authclient.Config{TLS: conf, Dial: func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: 10 * time.Second}
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, fault.New(fault.Unavailable, "the auth service at %s does not answer", addr).
				WithHint("Is it running? Its address is auth_service.listen_addr; --auth-server names another.")
		}
		return conn, nil
	}})
}

// loopback is how a listener of this host is reached from this host.
func loopback(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func (a *app) byIdentity(ctx context.Context, path, server string) (*authclient.Client, error) {
	cred, err := identityfile.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := cred.Check(time.Now()); err != nil {
		return nil, err
	}
	if server == "" {
		return nil, fault.New(fault.Invalid, "an identity file does not say where the cluster is").WithHint("Add --auth-server=host:port.")
	}
	return a.remote(ctx, server, cred)
}

// remote reaches auth at an address that may be its own or a proxy's.
func (a *app) remote(ctx context.Context, server string, cred *identityfile.Credential) (*authclient.Client, error) {
	trust, err := cert.NewTrust(cred.HostAuthorities())
	if err != nil {
		return nil, err
	}
	if _, _, err := net.SplitHostPort(server); err == nil {
		api, err := dialAuth(server, cred.Cluster(), cred.TLSCertificate(), trust)
		if err != nil {
			return nil, err
		}
		if _, err = api.Ping(ctx); err == nil {
			return api, nil
		}
		api.Close()
	}
	c, err := client.New(client.Config{ProxyAddr: server, Cluster: cred.Cluster(), Credential: cred})
	if err != nil {
		return nil, err
	}
	return c.API()
}

func (a *app) byProfile(ctx context.Context, server string) (*authclient.Client, error) {
	p, cred, err := a.currentProfile()
	if err != nil {
		return nil, err
	}
	if server != "" {
		return a.remote(ctx, server, cred)
	}
	c, err := client.New(client.Config{ProxyAddr: p.WebProxyAddr, Cluster: p.Cluster, Credential: cred, Upgrade: upgradeOf(p)})
	if err != nil {
		return nil, err
	}
	return c.API()
}

func (a *app) currentProfile() (*profile.Profile, *identityfile.Credential, error) {
	path, err := profile.DefaultPath(a.Getenv)
	if err != nil {
		return nil, nil, err
	}
	s, err := profile.Open(path)
	if err != nil {
		return nil, nil, err
	}
	p, err := s.Current()
	if err != nil {
		return nil, nil, fault.New(fault.Unauthenticated, "this is no auth host, and nobody is logged in").
			WithHint("Use tsh login, -i FILE, or run tctl on the auth host (with -c CONFIG, where it is not %s).", config.DefaultPath)
	}
	cred, err := s.Credential(p)
	if err != nil {
		return nil, nil, err
	}
	return p, cred, cred.Check(time.Now())
}

func upgradeOf(p *profile.Profile) alpndial.Upgrade {
	if p.UpgradeNeeded {
		return alpndial.UpgradeYes
	}
	return alpndial.UpgradeAuto
}

func first(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}
