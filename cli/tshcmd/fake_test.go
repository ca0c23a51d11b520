package tshcmd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/crypto/ssh"

	"teleport/api/gen/resourcev1"
	"teleport/api/gen/resourcev1/resourcev1connect"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/cli/tshcmd"
	"teleport/client/clienttest"
	"teleport/dial"
	"teleport/fault"
	"teleport/keys"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// world is a cluster as a client sees it, on one loopback port: a proxy that
// routes by ALPN, an auth service behind it that knows servers, and SSH servers.
// The zero settings make a cluster that works; tests change them.
type world struct {
	t     *testing.T
	ca    *clienttest.CA
	addr  string
	home  string
	nodes map[string]*node // by host name
	ping  map[string]any
	ttl   time.Duration
	noSSH bool // the user's roles allow no login
	web   *tls.Certificate
	proxy *tls.Certificate
	auth  *tls.Certificate
	inner chan net.Conn // connections to the auth service
	http  chan net.Conn // connections to the web API

	recordings clienttest.Recordings
	trackers   []*types.SessionTracker
	apps       []*types.AppServer
}

// node is an SSH server of the world.
type node struct {
	uuid, hostname string
	labels         map[string]string
	signer         ssh.Signer
	claims         string // the UUID that the proxy says it is; empty: its own
}

const (
	cluster  = "example"
	password = "correct horse"
	otpCode  = "123456"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ca: clienttest.NewCA(t, cluster), home: filepath.Join(t.TempDir(), "tsh"), nodes: map[string]*node{},
		inner: make(chan net.Conn), http: make(chan net.Conn),
		ping: map[string]any{"cluster_name": cluster, "server_version": "0.1.0", "auth": map[string]any{"type": "local", "second_factor": "otp"}}}
	w.proxy, _ = w.ca.Host(t, "10000000-0000-4000-8000-000000000001", "proxy-1", types.RoleProxy)
	w.auth, _ = w.ca.Host(t, "20000000-0000-4000-8000-000000000001", "auth-1", types.RoleAuth)
	w.web = selfSigned(t)
	w.addNode("30000000-0000-4000-8000-000000000001", "web-1", map[string]string{"env": "prod", "role": "web"})
	w.addNode("30000000-0000-4000-8000-000000000002", "db-1", map[string]string{"env": "test"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	w.serve(l)
	return w
}

func (w *world) addNode(uuid, hostname string, labels map[string]string) *node {
	_, signer := w.ca.Host(w.t, uuid, hostname, types.RoleNode)
	n := &node{uuid: uuid, hostname: hostname, labels: labels, signer: signer}
	w.nodes[hostname] = n
	return n
}

// serve runs everything until the test ends.
func (w *world) serve(l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	web := &http.Server{Handler: w.webAPI()}
	auth := &http.Server{Handler: w.authAPI()}
	wg.Go(func() { _ = web.Serve(chanListener{ctx, w.http}) })
	wg.Go(func() { _ = auth.Serve(chanListener{ctx, w.inner}) })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			wg.Go(func() { defer stop(); w.route(ctx, c) })
		}
	})
	w.t.Cleanup(func() { cancel(); l.Close(); web.Close(); auth.Close(); wg.Wait() })
}

func (w *world) source(crt *tls.Certificate) tlscert.Source {
	trust := w.ca.Trust(w.t)
	return tlscert.Source{Certificate: func() *tls.Certificate { return crt }, Trust: func() *cert.Trust { return trust }, Now: time.Now}
}

// route is TLS routing: the host certificate for dials, the web certificate for
// everything else.
func (w *world) route(ctx context.Context, c net.Conn) {
	host := tlscert.ServerConfig(w.source(w.proxy), tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityUser}, ALPN: []string{tunframe.ALPNDial}})
	conf := &tls.Config{Certificates: []tls.Certificate{*w.web}, NextProtos: []string{"http/1.1", tunframe.ALPNAuth + cluster, tunframe.ALPNTunnel}}
	conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(h.SupportedProtos) == 1 && h.SupportedProtos[0] == tunframe.ALPNDial {
			return host.GetConfigForClient(h)
		}
		return nil, nil
	}
	tc := tls.Server(c, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		c.Close()
		return
	}
	switch tc.ConnectionState().NegotiatedProtocol {
	case tunframe.ALPNDial:
		w.dialled(ctx, tc)
	case tunframe.ALPNAuth + cluster:
		in := tls.Server(tc, tlscert.ServerConfig(w.source(w.auth), tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityUser}, ALPN: []string{"h2"}}))
		if in.HandshakeContext(ctx) == nil {
			send(ctx, w.inner, net.Conn(in))
		}
	case "http/1.1", "":
		send(ctx, w.http, net.Conn(tc))
	default:
		tc.Close()
	}
}

func send(ctx context.Context, to chan net.Conn, c net.Conn) {
	select {
	case to <- c:
	case <-ctx.Done():
		c.Close()
	}
}

func (w *world) dialled(ctx context.Context, c net.Conn) {
	h, err := dial.ReadHeader(c)
	if err != nil {
		c.Close()
		return
	}
	n, why := w.find(h.Name)
	if why != nil {
		_ = dial.Refuse(c, why)
		return
	}
	uuid := n.uuid
	if n.claims != "" {
		uuid = n.claims
	}
	if dial.WriteReply(c, dial.Reply{EndsAt: tunframe.EndsAtAgent, AgentUUID: uuid, Hostname: n.hostname}) == nil {
		serveSSH(ctx, w.t, c, n.signer, w.ca.Trust(w.t))
	}
}

func (w *world) find(name string) (*node, error) {
	var found []*node
	for _, n := range w.nodes {
		k, v, isLabel := strings.Cut(name, "=")
		if n.hostname == name || n.uuid == name || isLabel && n.labels[k] == v {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
		return nil, fault.New(fault.NotFound, "no server is called %q", name).WithHint("list the servers: tsh ls")
	case 1:
		return found[0], nil
	}
	return nil, fault.New(fault.Conflict, "%q is ambiguous:\n%s\n%s", name, found[0].uuid, found[1].uuid)
}

// webAPI answers those without a certificate.
func (w *world) webAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /webapi/ping", func(rw http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(rw).Encode(w.ping) })
	mux.HandleFunc("POST /webapi/ssh/certs", w.login)
	return mux
}

func (w *world) login(rw http.ResponseWriter, r *http.Request) {
	var req struct {
		User     string `json:"user"`
		Password string `json:"password"`
		OTP      string `json:"otp_token"`
		SSHPub   string `json:"ssh_pub_key"`
		TLSPub   []byte `json:"tls_pub_key"`
		TTL      int64  `json:"ttl"`
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.Password != password || req.OTP != otpCode {
		rw.WriteHeader(http.StatusUnauthorized)
		_, _ = rw.Write([]byte(`{"error":{"kind":"unauthenticated","message":"invalid credentials","hint":"check user, password and code"}}`))
		return
	}
	sshPub, err1 := keys.ParseSSHPublic(req.SSHPub)
	tlsPub, err2 := x509.ParsePKIXPublicKey(req.TLSPub)
	if err := errors.Join(err1, err2); err != nil {
		w.t.Error(err)
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	user := clienttest.User{Name: req.User, Logins: []string{"root", "deploy"}, TTL: w.ttl}
	if w.noSSH {
		user.Logins = nil
	}
	if req.TTL != 0 {
		user.TTL = time.Duration(req.TTL) * time.Second
	}
	line, pem := w.ca.Certify(w.t, user, sshPub.(ssh.CryptoPublicKey).CryptoPublicKey(), tlsPub)
	_ = json.NewEncoder(rw).Encode(map[string]any{"username": req.User, "cluster": cluster, "ssh_cert": line,
		"tls_cert": base64.StdEncoding.EncodeToString(pem), "authorities": w.ca.Documents()})
}

// resources is the one API service that listings need.
type resources struct {
	resourcev1connect.UnimplementedResourceServiceHandler
	w *world
}

func (r resources) List(_ context.Context, req *connect.Request[resourcev1.ListRequest]) (*connect.Response[resourcev1.ListResponse], error) {
	resp := &resourcev1.ListResponse{}
	if req.Msg.Kind == types.KindSessionTracker {
		for _, t := range r.w.trackers {
			data, err := json.Marshal(t)
			if err != nil {
				return nil, err
			}
			resp.Documents = append(resp.Documents, data)
		}
		return connect.NewResponse(resp), nil
	}
	if req.Msg.Kind == types.KindAppServer {
		for _, s := range r.w.apps {
			data, err := json.Marshal(s)
			if err != nil {
				return nil, err
			}
			resp.Documents = append(resp.Documents, data)
		}
		return connect.NewResponse(resp), nil
	}
	for _, n := range r.w.nodes {
		ok := true
		for k, v := range req.Msg.Labels {
			ok = ok && n.labels[k] == v
		}
		for _, word := range req.Msg.Search {
			ok = ok && strings.Contains(n.hostname, word)
		}
		if !ok {
			continue
		}
		doc := types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2", Metadata: types.Metadata{Name: n.uuid, Labels: n.labels}}}
		doc.Spec.Hostname, doc.Spec.UseTunnel = n.hostname, true
		data, err := json.Marshal(&doc)
		if err != nil {
			return nil, err
		}
		resp.Documents = append(resp.Documents, data)
	}
	return connect.NewResponse(resp), nil
}

func (w *world) authAPI() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(resourcev1connect.NewResourceServiceHandler(resources{w: w}))
	mux.Handle(w.recordings.Handler())
	return mux
}

// result is what a run of tsh left behind.
type result struct {
	code     int
	out, err string
}

// tsh runs a command line with the world's profile directory.
func (w *world) tsh(stdin string, args ...string) result {
	w.t.Helper()
	return w.run(stdin, []string{"TELEPORT_HOME=" + w.home, "HOME=/nonexistent", "USER=nobody", "LC_TEST=yes"}, args...)
}

func (w *world) run(stdin string, env []string, args ...string) result {
	w.t.Helper()
	var out, errs bytes.Buffer
	code := tshcmd.Run(w.t.Context(), args, strings.NewReader(stdin), &out, &errs, env)
	if strings.Contains(errs.String(), "goroutine ") {
		w.t.Errorf("tsh %v shows a stack trace:\n%s", args, errs.String())
	}
	return result{code, out.String(), errs.String()}
}

// logIn runs tsh login as a person would.
func (w *world) logIn(args ...string) result {
	w.t.Helper()
	return w.tsh(password+"\n"+otpCode+"\n", append([]string{"login", "--proxy=" + w.addr, "--user=alice", "--insecure"}, args...)...)
}

// mustLogIn gives the test a profile.
func (w *world) mustLogIn() {
	w.t.Helper()
	if r := w.logIn(); r.code != 0 {
		w.t.Fatalf("login: %d\n%s", r.code, r.err)
	}
}

// chanListener is a listener of connections that come from elsewhere.
type chanListener struct {
	ctx   context.Context
	conns chan net.Conn
}

func (l chanListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}
func (l chanListener) Close() error   { return nil }
func (l chanListener) Addr() net.Addr { return &net.TCPAddr{} }
