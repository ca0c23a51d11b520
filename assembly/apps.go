package assembly

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"teleport/api/rpc"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/proxy/appproxy"
	"teleport/proxy/proxyd"
	"teleport/proxy/webapi"
	"teleport/telemetry"
	"teleport/types"
	"teleport/types/event"
)

// buildApps makes what answers browsers at the addresses of apps.
func (x *proxyParts) buildApps() error {
	p := x.p
	x.apps = appproxy.New(appproxy.Options{PublicAddr: p.publicAddr(), Hosts: x.web.Apps(), Sessions: p.replica, Auth: p.client,
		Trust: p.replica.Trust, Dial: x.proxy.Dial, Bridge: p.bridgeTLS, ClientAddr: x.web.ClientAddr, Failed: x.appRefused, Log: p.log, Now: p.clock.Now,
		Agent: func(uuid string, own *tls.Certificate, alpn ...string) (*tls.Config, error) {
			src := tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: p.replica.Trust, Now: p.clock.Now}
			return tlscert.ClientConfig(src, tlscert.Server{Cluster: x.cluster, UUID: uuid}, alpn...)
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

// appRefused records what is refused at the address of an app; of strangers, as far
// as they may write to the audit log.
func (x *proxyParts) appRefused(ctx context.Context, f appproxy.Failure) {
	if !f.Proven && !x.p.strangers.Take(f.Client, x.p.clock.Now()) {
		return
	}
	e := &event.AuthFail{User: event.User{User: f.User}, Server: event.Server{ServerID: x.uuid, ServerHostname: x.p.cfg.Nodename},
		Connection: event.Connection{RemoteAddr: f.Client.String(), Protocol: "app"}, Status: event.Status{Error: fault.Message(f.Err), Message: f.App},
		ResourceKind: types.KindApp, ResourceName: f.App, RequestID: f.Request}
	if err := x.p.writer.Emit(ctx, e); err != nil {
		x.p.log.Warn("a refused session with an app was not recorded", telemetry.KeyErr, err)
	}
}

// launchRefused records that a signed-in person may not open an app.
func (x *proxyParts) launchRefused(ctx context.Context, c rpc.Caller, l webapi.Refusal) {
	r := proxyd.Refusal{Caller: proxyd.Caller{Identity: c.Identity, Addr: c.Addr}, Kind: types.KindApp, Name: l.Host, Decision: l.Decision, Err: l.Err}
	if l.App != nil {
		r.Name, r.Resource = l.App.Metadata.Name, l.App
	}
	x.p.dialRefused(ctx, r)
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
