package assembly

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/http"

	"teleport/access"
	"teleport/api/rpc"
	"teleport/cert/tlscert"
	"teleport/proxy/appproxy"
	"teleport/proxy/proxyd"
	"teleport/telemetry"
	"teleport/types"
	"teleport/types/event"
)

// buildApps makes what answers browsers at the addresses of apps.
func (x *proxyParts) buildApps() error {
	p := x.p
	x.apps = appproxy.New(appproxy.Options{PublicAddr: p.publicAddr(), Hosts: x.web.Apps(), Sessions: p.replica, Auth: p.client,
		Trust: p.replica.Trust, Dial: x.proxy.Dial, Bridge: p.bridgeTLS, ClientAddr: x.web.ClientAddr, Failed: x.appRefused, Log: p.log, Now: p.clock.Now,
		Agent: func(uuid string, own *tls.Certificate) (*tls.Config, error) {
			src := tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: p.replica.Trust, Now: p.clock.Now}
			return tlscert.ClientConfig(src, tlscert.Server{Cluster: x.cluster, UUID: uuid}, "http/1.1")
		},
		Peer: func(cs tls.ConnectionState) (*types.Identity, error) {
			return tlscert.Peer(cs, p.replica.Trust(), p.clock.Now(), types.IdentityUser)
		}})
	return nil
}

// front sends requests to the app whose address they name; the proxy's own names
// are never an app's.
func (x *proxyParts) front(w http.ResponseWriter, r *http.Request) {
	if !x.web.Ours(r.Host) && x.apps.Handles(r.Host) {
		x.apps.ServeHTTP(w, r)
		return
	}
	x.web.ServeHTTP(w, r)
}

// webTLS shows the web certificate. Browsers are never asked for one of theirs:
// they always say which protocols they speak. Who says nothing of that and wants an
// app may be a program with the certificate of tsh apps login.
func (x *proxyParts) webTLS(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: x.certs.get}
	if len(hello.SupportedProtos) == 0 && x.apps.Handles(hello.ServerName) {
		c.ClientAuth, c.SessionTicketsDisabled = tls.RequestClientCert, true
	}
	return c, nil
}

// appRefused records an attempt to use a session with an app that is nobody's to make.
func (x *proxyParts) appRefused(ctx context.Context, f appproxy.Failure) {
	e := &event.AuthFail{User: event.User{User: f.User}, Server: event.Server{ServerID: x.uuid, ServerHostname: x.p.cfg.Nodename},
		Connection: event.Connection{RemoteAddr: f.Client.String(), Protocol: "app"}, Status: event.Status{Error: f.Err.Error(), Message: f.App}}
	if err := x.p.writer.Emit(ctx, e); err != nil {
		x.p.log.Warn("a refused session with an app was not recorded", telemetry.KeyErr, err)
	}
}

// launchRefused records that a signed-in person may not open an app.
func (x *proxyParts) launchRefused(ctx context.Context, c rpc.Caller, app *types.App, d access.Decision) {
	hash := ""
	if c.Certificate != nil {
		sum := sha256.Sum256(c.Certificate.Raw)
		hash = hex.EncodeToString(sum[:])
	}
	x.p.dialRefused(ctx, proxyd.Refusal{Caller: proxyd.Caller{Identity: c.Identity, CertSHA256: hash, Addr: c.Addr}, Resource: app, Decision: d})
}

// withWildcards adds a name for all apps below each host name of the proxy.
func withWildcards(names []string) []string {
	out := names
	for _, n := range names {
		if net.ParseIP(n) == nil {
			out = append(out, "*."+n)
		}
	}
	return out
}
