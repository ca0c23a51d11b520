package stolen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/api/authclient"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// acceptor is one place that takes credentials. try returns nil when the bearer
// got what the place is for.
type acceptor struct {
	name string
	// covers names the registrations in the source that this acceptor stands for.
	covers []string
	try    func(ctx context.Context, c credential) error
}

func (w *world) acceptors(gate credential) []acceptor {
	local := w.localPorts()
	at := func(cloud string) func(context.Context, credential) error {
		return func(ctx context.Context, c credential) error { return local[cloud].try(ctx, c, false) }
	}
	return []acceptor{
		{"teleport-dial", []string{"ALPN tunframe.ALPNDial"}, func(_ context.Context, c credential) error {
			conn, err := w.dialNode(c)
			if err == nil {
				conn.Close()
			}
			return err
		}},
		{"teleport-reversetunnel", []string{"ALPN tunframe.ALPNTunnel"}, w.tunnel},
		{"teleport-data", []string{"ALPN tunframe.ALPNData"}, w.data},
		{"teleport-auth@", []string{`ALPN authALPN+"@"`, "ALPN authALPN"}, func(ctx context.Context, c credential) error {
			return w.whoAmI(ctx, c, func(context.Context) (net.Conn, error) { return c.tlsTo(w.web, "teleport-auth@"+clusterName) })
		}},
		{"auth service", []string{"auth ALPNAPI"}, func(ctx context.Context, c credential) error {
			return w.whoAmI(ctx, c, func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", w.auth) })
		}},
		{"teleport-forward", []string{"auth ALPNForward"}, w.forward},
		{"jump host", []string{"Preamble tlsroute.SSH"}, func(ctx context.Context, c credential) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.web)
			if err != nil {
				return err
			}
			return jump(conn, c)
		}},
		{"teleport-proxy-ssh", []string{`ALPN "teleport-proxy-ssh"`}, func(_ context.Context, c credential) error {
			conn, err := c.tlsTo(w.web, "teleport-proxy-ssh")
			if err != nil {
				return err
			}
			return jump(conn, c)
		}},
		{"agent's SSH, gate alice", []string{"Service ssh"}, func(_ context.Context, c credential) error {
			conn, err := w.dialNode(gate)
			if err != nil {
				return fmt.Errorf("the gate: %w", err)
			}
			return command(conn, c)
		}},
		{"agent's databases, gate alice", []string{"Service db"}, func(ctx context.Context, c credential) error {
			conn, err := w.dial(gate, types.KindDatabase, databaseName)
			if err != nil {
				return fmt.Errorf("the gate: %w", err)
			}
			defer conn.Close()
			return query(ctx, conn, c)
		}},
		{"agent's apps, gate alice", []string{"Service app"}, func(ctx context.Context, c credential) error {
			conn, err := w.dial(gate, types.KindApp, appName)
			if err != nil {
				return fmt.Errorf("the gate: %w", err)
			}
			defer conn.Close()
			return w.visit(ctx, c, func(context.Context, string, string) (net.Conn, error) { return conn, nil }, "http/1.1")
		}},
		{"app's address, without cookies", nil, func(ctx context.Context, c credential) error {
			return w.visit(ctx, c, func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", w.web)
			}, "")
		}},
		{"stream that outlives its dial, gate alice", nil, func(_ context.Context, c credential) error { return w.outlive(gate, c) }},
		{"database client without tsh", []string{"Preamble tlsroute.Postgres"}, func(ctx context.Context, c credential) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.web)
			if err != nil {
				return err
			}
			defer conn.Close()
			return queryNative(ctx, conn, c)
		}},
		{"teleport-postgres", []string{"ALPN tunframe.ALPNPostgres"}, func(ctx context.Context, c credential) error {
			conn, err := credential{}.tlsTo(w.web, tunframe.ALPNPostgres)
			if err != nil {
				return err
			}
			defer conn.Close()
			return queryNative(ctx, conn, c)
		}},
		{"teleport-redis", []string{"ALPN tunframe.ALPNRedis"}, func(ctx context.Context, c credential) error {
			conn, err := credential{}.tlsTo(w.web, tunframe.ALPNRedis)
			if err != nil {
				return err
			}
			defer conn.Close()
			return queryRedis(ctx, conn, c)
		}},
		{"teleport-mysql", []string{"ALPN tunframe.ALPNMySQL"}, func(ctx context.Context, c credential) error {
			conn, err := credential{}.tlsTo(w.web, tunframe.ALPNMySQL)
			if err != nil {
				return err
			}
			defer conn.Close()
			return queryMySQL(ctx, conn, c)
		}},
		{"the port for MySQL", nil, func(ctx context.Context, c credential) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.mysql)
			if err != nil {
				return err
			}
			defer conn.Close()
			return queryMySQL(ctx, conn, c)
		}},
		{"agent's own port, dial", []string{"ALPN tunframe.ALPNDirect"}, w.dialDirect},
		{"agent's own port, SSH", []string{"Preamble tlsroute.SSH"}, func(ctx context.Context, c credential) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.node)
			if err != nil {
				return err
			}
			return command(conn, c)
		}},
		{"web session", []string{"Web"}, w.webSession},
		{"port of tsh proxy aws", nil, at("AWS")},
		{"port of tsh proxy azure", nil, at("Azure")},
		{"port of tsh proxy gcloud", nil, at("Google Cloud")},
	}
}

func sshConfig(c credential, login string) *ssh.ClientConfig {
	conf := &ssh.ClientConfig{User: login, Timeout: patience, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	if c.ssh != nil {
		conf.Auth = []ssh.AuthMethod{ssh.PublicKeys(c.ssh)}
	}
	return conf
}

// handshake speaks SSH with whoever is at the other end.
func handshake(conn net.Conn, c credential, login string) (ssh.Conn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, nil, nil, err
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, "", sshConfig(c, login))
	if err != nil {
		conn.Close()
	}
	return sc, chans, reqs, err
}

func (w *world) tunnel(_ context.Context, c credential) error {
	conn, err := c.tlsTo(w.web, tunframe.ALPNTunnel)
	if err != nil {
		return err
	}
	sc, _, _, err := handshake(conn, c, c.uuid)
	if err != nil {
		return err
	}
	defer sc.Close()
	body, err := tunframe.Marshal(&tunframe.Hello{V: tunframe.Version, Generation: 1})
	if err != nil {
		return err
	}
	ok, _, err := sc.SendRequest(tunframe.RequestHello, true, body)
	if err == nil && !ok {
		err = errors.New("the hello is refused")
	}
	return err
}

// data brings a connection that nobody asked for, so nobody gets in.
func (w *world) data(_ context.Context, c credential) error {
	conn, err := c.tlsTo(w.web, tunframe.ALPNData)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := tunframe.Write(conn, &tunframe.DataHello{V: tunframe.Version, ID: tunframe.DataID(strings.Repeat("ab", 16))}); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

func (w *world) client(c credential, dialer authclient.DialFunc) (*authclient.Client, error) {
	conf, err := tlscert.ClientConfig(tlscert.Source{Certificate: func() *tls.Certificate { return c.tls },
		Trust: func() *cert.Trust { return w.trust }, Now: time.Now}, tlscert.Server{Cluster: clusterName, Role: types.RoleAuth}, "h2")
	if err != nil {
		return nil, err
	}
	return authclient.New(authclient.Config{Dial: dialer, TLS: conf})
}

func (w *world) whoAmI(ctx context.Context, c credential, dialer authclient.DialFunc) error {
	api, err := w.client(c, dialer)
	if err != nil {
		return err
	}
	defer api.Close()
	_, err = api.WhoAmI(ctx)
	return err
}

// forward passes somebody without a certificate on to auth, as a proxy may.
func (w *world) forward(ctx context.Context, c credential) error {
	api, err := w.client(credential{}, func(context.Context) (net.Conn, error) {
		conn, err := c.tlsTo(w.auth, tunframe.ALPNForward)
		if err != nil {
			return nil, err
		}
		return conn, dial.WriteForward(conn, c.uuid, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, "")
	})
	if err != nil {
		return err
	}
	defer api.Close()
	_, err = api.Ping(ctx)
	return err
}

// jump asks the jump host for the node.
func jump(conn net.Conn, c credential) error {
	sc, chans, reqs, err := handshake(conn, c, "root")
	if err != nil {
		return err
	}
	client := ssh.NewClient(sc, chans, reqs)
	defer client.Close()
	through, err := client.Dial("tcp", nodeName+":3022")
	if err == nil {
		through.Close()
	}
	return err
}

// command runs a command at the node's own SSH server.
func command(conn net.Conn, c credential) error {
	sc, chans, reqs, err := handshake(conn, c, "root")
	if err != nil {
		return err
	}
	client := ssh.NewClient(sc, chans, reqs)
	defer client.Close()
	s, err := client.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Run("true")
}

// visit asks for a page of the app. There is no app at its address: whoever is told
// so was let in.
func (w *world) visit(ctx context.Context, c credential, way func(ctx context.Context, network, addr string) (net.Conn, error), alpn string) error {
	conf := c.tlsConfig(alpn)
	if alpn == "" {
		conf.NextProtos = nil // as no browser does
	}
	conf.ServerName = appHost
	tr := &http.Transport{DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := way(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, conf)
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		return conn, nil
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+appHost+"/", nil)
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway && resp.StatusCode != http.StatusServiceUnavailable {
		return errors.New(resp.Status)
	}
	return nil
}

// webSession shows the certificate to the web, which takes cookies alone.
func (w *world) webSession(ctx context.Context, c credential) error {
	tr := &http.Transport{TLSClientConfig: c.tlsConfig("http/1.1")}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+w.web+"/webapi/sessions/web", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// TestWhoGetsInWhere tries every credential at every acceptor. When a new one
// changes the table, decide, then record it with UPDATE_GOLDEN=1.
func TestWhoGetsInWhere(t *testing.T) { whoGetsInWhere(t, "node", "testdata/acceptors.golden") }

// TestWhoGetsInWhereProxiesRecord is the same for a cluster that records at its
// proxies: they are the SSH servers, and no way leads past them.
func TestWhoGetsInWhereProxiesRecord(t *testing.T) {
	whoGetsInWhere(t, "proxy", "testdata/acceptors-proxy.golden")
}

func whoGetsInWhere(t *testing.T, mode, path string) {
	w := newWorld(t, mode)
	kit := w.kit()
	var out strings.Builder
	why := []error{} // line by line
	for _, a := range w.acceptors(kit[2]) {
		fmt.Fprintf(&out, "%s\n", a.name)
		why = append(why, nil)
		for _, c := range kit {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			err := a.try(ctx, c)
			cancel()
			verdict := "allow"
			if err != nil {
				verdict = "-"
			}
			if c.name == "user" && a.name == "teleport-dial" && err != nil {
				t.Fatalf("an honest user: %v", err)
			}
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s at %s: no answer in time", c.name, a.name)
			}
			fmt.Fprintf(&out, "\t%-30s %s\n", c.name, verdict)
			why = append(why, err)
		}
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(path, []byte(out.String()), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(t, err)
	got, exp := strings.Split(out.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(exp)) {
		if i >= len(got) || i >= len(exp) || got[i] != exp[i] {
			if i < len(why) {
				t.Logf("line %d: %v", i+1, why[i])
			}
			t.Fatalf("%s differs from line %d on; now it is:\n%s", path, i+1, out.String())
		}
	}
}

// TestEveryAcceptorIsTried finds the acceptors in the source and compares them
// with those that the kit tries.
func TestEveryAcceptorIsTried(t *testing.T) {
	var tried []string
	for _, a := range (&world{}).acceptors(credential{}) {
		tried = append(tried, a.covers...)
	}
	found := append(registrations(t, "../../assembly"), "Service ssh", "Service db", "Service app")
	for _, name := range alpnNames(t, "../../auth/authserver/listener.go") {
		found = append(found, "auth "+name)
	}
	slices.Sort(tried)
	slices.Sort(found)
	if !slices.Equal(tried, found) {
		t.Errorf("acceptors in the source: %q\nacceptors that the kit tries: %q", found, tried)
	}
	if n := services(t, "../../assembly"); n != 3 {
		t.Errorf("agents have %d services, and the kit tries 3", n)
	}
}

// walk calls visit for every node of the Go files in a folder, tests apart.
func walk(t *testing.T, dir string, visit func(ast.Node)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	must(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		ast.Inspect(f, func(n ast.Node) bool { visit(n); return true })
	}
}

// registrations finds the routes of the one TLS port.
func registrations(t *testing.T, dir string) []string {
	var out []string
	walk(t, dir, func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return
		}
		switch sel.Sel.Name {
		case "ALPN":
			for _, arg := range call.Args[1:] {
				out = append(out, "ALPN "+text(arg))
			}
		case "Preamble", "SNI":
			out = append(out, sel.Sel.Name+" "+text(call.Args[0]))
		case "Web":
			if len(call.Args) == 1 {
				out = append(out, "Web")
			}
		}
	})
	return out
}

func text(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		return x.Value
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return text(x.X) + "." + x.Sel.Name
	case *ast.BinaryExpr:
		return text(x.X) + x.Op.String() + text(x.Y)
	}
	return fmt.Sprintf("%T", e)
}

// alpnNames finds the constants of a file whose names begin with ALPN.
func alpnNames(t *testing.T, path string) []string {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	must(t, err)
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for _, name := range v.Names {
				if strings.HasPrefix(name.Name, "ALPN") {
					out = append(out, name.Name)
				}
			}
		}
		return true
	})
	return out
}

// services counts what agents are made of.
func services(t *testing.T, dir string) int {
	n := 0
	walk(t, dir, func(node ast.Node) {
		switch x := node.(type) {
		case *ast.CompositeLit:
			if a, ok := x.Type.(*ast.ArrayType); ok && text(a.Elt) == "agentd.Service" {
				n += len(x.Elts)
			}
		case *ast.CallExpr:
			if text(x.Fun) == "append" && len(x.Args) > 0 && text(x.Args[0]) == "p.services" {
				n += len(x.Args) - 1
			}
		}
	})
	return n
}
