package sshproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/audit/audittest"
	"teleport/cert/certtest"
	"teleport/cert/sshcert"
	"teleport/fault"
	"teleport/keys"
	"teleport/netx"
	"teleport/netx/memnet"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshclient"
	"teleport/sshserver"
	"teleport/types"
	"teleport/types/event"
)

const (
	home    = "example.test"
	nodeID  = certtest.HostUUID
	proxyID = "5f3c8a1e-9f0d-4f5e-8a57-0d6a3f1b2c4e"
)

// policy is a cluster of one role, whose mode is proxy.
type policy struct{ role *types.Role }

func (p policy) Roles([]string) []*types.Role { return []*types.Role{p.role} }
func (policy) Locks() []*types.Lock           { return nil }
func (policy) Settings() access.Settings {
	return access.Settings{Recording: types.RecordingConfigSpec{Mode: "proxy"}}
}
func (policy) Epoch(string) *types.UserEpochSpec { return nil }
func (policy) Fresh(time.Time) bool              { return true }
func (policy) Revision() uint64                  { return 1 }

// tapes is a recorder that keeps what it is given, in order.
type tapes struct {
	mu    sync.Mutex
	infos []recorder.Info
	said  []string // out:…, err:…, size:…, event:…, close
	start error    // of Start
	show  error    // of Show
}

func (*tapes) Mode() string { return "proxy" }

func (r *tapes) Start(_ context.Context, info recorder.Info) (recorder.Recording, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.start != nil {
		return nil, r.start
	}
	r.infos = append(r.infos, info)
	return tape{r}, nil
}

func (r *tapes) add(s string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.show != nil && !strings.HasPrefix(s, "close") {
		return r.show
	}
	r.said = append(r.said, s)
	return nil
}

func (r *tapes) kept() (infos []recorder.Info, said []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.infos), slices.Clone(r.said)
}

type tape struct{ r *tapes }

func (t tape) Mode() string { return "proxy" }
func (t tape) Show(s recorder.Stream, p []byte) error {
	return t.r.add(map[recorder.Stream]string{recorder.Output: "out:", recorder.Errors: "err:"}[s] + string(p))
}
func (t tape) Resize(columns, rows int) error { return t.r.add("size") }
func (t tape) Event(json ...[]byte) error     { return t.r.add("event:" + string(bytes.Join(json, nil))) }
func (t tape) Close() error                   { return t.r.add("close") }

// bridgeWorld is a proxy that records, between a client and an agent that a test
// plays.
type bridgeWorld struct {
	t     *testing.T
	certs *certtest.World
	ender *Ender
	tapes *tapes
	log   *audittest.Recorder
	in    Inbound
	agent *fakeAgent
}

// fakeAgent is an SSH server that runs nothing: a test answers for it.
type fakeAgent struct {
	signer  ssh.Signer
	refuse  string // as banner, whoever comes
	mu      sync.Mutex
	conn    ssh.Conn
	cert    *ssh.Certificate // that came
	named   []sshserver.BridgedSession
	asked   []string // requests
	global  []string
	session func(ch ssh.Channel, r *ssh.Request) // a job was asked for; it answers and closes
}

func newBridgeWorld(t *testing.T) *bridgeWorld {
	t.Helper()
	now := time.Now()
	w := &bridgeWorld{t: t, certs: certtest.New(t, home, now), tapes: &tapes{}, log: audittest.NewRecorder()}
	w.agent = &fakeAgent{signer: w.host(nodeID, types.RoleNode)}
	role := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v7", Metadata: types.Metadata{Name: "access"}}}
	role.Spec.Allow.Logins, role.Spec.Allow.NodeLabels = []string{"root"}, types.Labels{"*": {"*"}}
	proxy := w.host(proxyID, types.RoleProxy)
	verify := func(kind types.IdentityKind) func(*ssh.Certificate, time.Time) (*types.Identity, error) {
		return func(c *ssh.Certificate, at time.Time) (*types.Identity, error) {
			return sshcert.Verify(c, w.certs.Trust, kind, at)
		}
	}
	none := func(context.Context, *ssh.Certificate, ssh.PublicKey, string, string, netip.AddrPort) (*ssh.Certificate, error) {
		return nil, errors.New("nobody has no agent here")
	}
	var err error
	w.ender, err = NewEnder(EnderConfig{HostID: proxyID, HostSigners: func() []ssh.Signer { return []ssh.Signer{proxy} },
		Verify: verify(types.IdentityUser), VerifyHost: func(c *ssh.Certificate) (*types.Identity, error) {
			return verify(types.IdentityHost)(c, time.Now())
		},
		Certify: none, Bridge: w.bridge, Dial: (&net.Dialer{}).DialContext, Policy: policy{role}, Audit: w.log, Recorder: w.tapes,
		Sessions: session.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	w.must(err)
	node := &types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2", Metadata: types.Metadata{Name: nodeID}}}
	w.in = Inbound{Node: node, Client: netip.MustParseAddrPort("192.0.2.9:4000"), User: "alice", Cluster: home}
	return w
}

func (w *bridgeWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// bare is a key without a certificate.
func bare(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := keys.Generate(keys.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *bridgeWorld) sign(id *types.Identity, ca types.CAType) ssh.Signer {
	w.t.Helper()
	key := bare(w.t)
	by, err := ssh.NewSignerFromSigner(w.certs.SSH[ca])
	w.must(err)
	c, err := sshcert.Sign(id, key.PublicKey(), by, time.Now())
	w.must(err)
	s, err := ssh.NewCertSigner(c, key)
	w.must(err)
	return s
}

func (w *bridgeWorld) host(uuid string, role types.SystemRole) ssh.Signer {
	id := certtest.Host(home, time.Now(), role)
	id.Name = uuid
	return w.sign(id, types.CAHost)
}

// bridge is what the auth service does for the proxy.
func (w *bridgeWorld) bridge(_ context.Context, user *ssh.Certificate, key ssh.PublicKey, node, login string, _ netip.AddrPort) (*ssh.Certificate, error) {
	now := time.Now()
	id, err := sshcert.Verify(user, w.certs.Trust, types.IdentityUser, now)
	if err != nil {
		return nil, err
	}
	a := &id.Authority
	id.Kind, id.IssuedAt, a.ProxyUUID, a.DisallowReissue = types.IdentityBridge, now, proxyID, true
	a.Logins, a.Route = []string{login}, &types.Route{Kind: types.KindNode, Name: node}
	a.UserExpires, a.Expires = a.Expires, now.Add(time.Minute)
	by, err := ssh.NewSignerFromSigner(w.certs.SSH[types.CAHost])
	if err != nil {
		return nil, err
	}
	return sshcert.Sign(id, key, by, now)
}

// connect is alice's client, through the proxy.
func (w *bridgeWorld) connect() (*sshclient.Client, error) {
	w.t.Helper()
	near, far := memnet.Pipe()
	go w.agent.serve(far)
	conn, gate := memnet.Pipe()
	go netx.Splice(context.Background(), gate, w.ender.Through(w.in, near), netx.SpliceOptions{}) //nolint:errcheck // either end left
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	verify := func(c *ssh.Certificate) (*types.Identity, error) {
		return sshcert.Verify(c, w.certs.Trust, types.IdentityHost, time.Now())
	}
	return sshclient.New(ctx, conn, sshclient.Config{Login: "root", Host: sshclient.HostRole(verify, types.RoleProxy),
		Signers: []ssh.Signer{w.sign(certtest.User("alice", home, time.Now()), types.CAUser)}})
}

func (w *bridgeWorld) mustConnect() *sshclient.Client {
	w.t.Helper()
	c, err := w.connect()
	w.must(err)
	w.t.Cleanup(func() {
		c.Close()
		w.ender.open.Wait() // nothing of it is left
	})
	return c
}

func (a *fakeAgent) serve(nc net.Conn) {
	defer nc.Close()
	conf := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if a.refuse != "" {
			err := errors.New(a.refuse)
			return nil, &ssh.BannerError{Err: err, Message: "ERROR: " + a.refuse + "\r\n"}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.cert, _ = key.(*ssh.Certificate)
		return nil, nil //nolint:nilnil // as x/crypto wants it
	}}
	conf.AddHostKey(a.signer)
	conn, chans, reqs, err := ssh.NewServerConn(nc, conf)
	if err != nil {
		return
	}
	a.mu.Lock()
	a.conn = conn.Conn
	a.mu.Unlock()
	go func() {
		for r := range reqs {
			a.note(&a.global, r.Type)
			r.Reply(r.Type == "tcpip-forward", ssh.Marshal(struct{ Port uint32 }{4711})) //nolint:errcheck // the proxy is gone then
		}
	}()
	for nc := range chans {
		go a.channel(nc)
	}
}

func (a *fakeAgent) note(list *[]string, what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*list = append(*list, what)
}

func (a *fakeAgent) channel(nc ssh.NewChannel) {
	switch nc.ChannelType() {
	case "session":
		var m sshserver.BridgedSession
		if err := ssh.Unmarshal(nc.ExtraData(), &m); err != nil {
			nc.Reject(ssh.ConnectionFailed, "no name") //nolint:errcheck // the proxy is gone then
			return
		}
		a.mu.Lock()
		a.named = append(a.named, m)
		a.mu.Unlock()
	case "direct-tcpip", types.JoinChannel:
	default:
		nc.Reject(ssh.Prohibited, "the agent says no") //nolint:errcheck // the proxy is gone then
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	if nc.ChannelType() != "session" {
		go ssh.DiscardRequests(reqs)
		io.Copy(ch, ch) //nolint:errcheck // an echo until the other end leaves
		ch.Close()
		return
	}
	for r := range reqs {
		a.note(&a.asked, r.Type)
		if starts(r.Type) {
			go a.session(ch, r)
			continue
		}
		if r.WantReply {
			r.Reply(true, nil) //nolint:errcheck // the proxy is gone then
		}
	}
	ch.Close()
}

// exit ends a session as an agent does: with the last event behind the status.
func exit(ch ssh.Channel, code uint32) {
	ch.CloseWrite()                                                                                  //nolint:errcheck // the proxy is gone then
	ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))                   //nolint:errcheck // as above
	ch.SendRequest(sshserver.RecordedEvent, false, []byte(`{"event":"exec","code":"`+"T3002I"+`"}`)) //nolint:errcheck // as above
	ch.Close()
}

// TestABridgedSessionIsRecorded: output passes the recorder on its way, under the
// id that the agent was given; what is typed does not, and an event of the agent's
// goes into the recording and no further.
func TestABridgedSessionIsRecorded(t *testing.T) {
	w := newBridgeWorld(t)
	w.agent.session = func(ch ssh.Channel, r *ssh.Request) {
		r.Reply(true, nil) //nolint:errcheck // the proxy is gone then
		typed, err := io.ReadAll(ch)
		if err != nil || string(typed) != "typed" {
			t.Errorf("the agent reads %q, %v", typed, err)
		}
		io.WriteString(ch, "shown")          //nolint:errcheck // as above
		io.WriteString(ch.Stderr(), "wrong") //nolint:errcheck // as above
		exit(ch, 7)
	}
	c := w.mustConnect()
	var out, errs bytes.Buffer
	err := c.Run(t.Context(), sshclient.Command{Line: "job", Stdin: strings.NewReader("typed"), Stdout: &out, Stderr: &errs})
	var code *sshclient.ExitError
	if !errors.As(err, &code) || code.Code != 7 || out.String() != "shown" || errs.String() != "wrong" {
		t.Errorf("%q %q %v", out.String(), errs.String(), err)
	}
	c.Close()
	w.ender.open.Wait()
	infos, said := w.tapes.kept()
	want := []string{"err:wrong", `event:{"event":"exec","code":"T3002I"}`, "out:shown", "close"}
	if len(said) == len(want) {
		slices.Sort(said[:3]) // they come by three ways
	}
	if len(infos) != 1 || infos[0].Command != "job" || infos[0].User != "alice" || infos[0].Login != "root" || infos[0].HostID != nodeID || !slices.Equal(said, want) {
		t.Errorf("%+v %q", infos, said)
	}
	if n := w.agent.named; len(n) != 1 || n[0].ID != infos[0].SessionID || n[0].Recording != "proxy" {
		t.Errorf("the agent heard of %+v", n)
	}
	id, err := sshcert.Verify(w.agent.cert, w.certs.Trust, types.IdentityBridge, time.Now())
	if err != nil || id.Name != "alice" || id.Authority.ProxyUUID != proxyID {
		t.Errorf("the agent saw %v, %v", id, err)
	}
}

// TestWhatCannotBeRecordedDoesNotHappen: no command reaches the agent before its
// recording has begun, and no byte the client before it is recorded.
func TestWhatCannotBeRecordedDoesNotHappen(t *testing.T) {
	full := fault.New(fault.Unavailable, "the disk is full")
	for _, broken := range []*tapes{{start: full}, {show: full}} {
		w := newBridgeWorld(t)
		broken.mu.Lock()
		w.tapes.start, w.tapes.show = broken.start, broken.show
		broken.mu.Unlock()
		w.agent.session = func(ch ssh.Channel, r *ssh.Request) {
			r.Reply(true, nil)          //nolint:errcheck // the proxy is gone then
			io.WriteString(ch, "shown") //nolint:errcheck // as above
			io.Copy(io.Discard, ch)     //nolint:errcheck // until the hang-up
			ch.Close()
		}
		c := w.mustConnect()
		var out, errs bytes.Buffer
		err := c.Run(t.Context(), sshclient.Command{Line: "job", Stdout: &out, Stderr: &errs})
		if err == nil || out.Len() > 0 || !strings.Contains(errs.String()+err.Error(), "the disk is full") && broken.show != nil {
			t.Errorf("%q %q %v", out.String(), errs.String(), err)
		}
		if broken.start != nil && slices.Contains(w.agent.asked, "exec") {
			t.Error("the agent was asked for what cannot be recorded")
		}
		if refused := w.log.Events(event.TypeSessionRejected); (len(refused) == 1) != (broken.start != nil) {
			t.Errorf("rejected: %v", refused)
		}
	}
}

// TestTransfersAreRecordedByTheirEvents: the bytes of files stay out of recordings,
// and a transfer that the agent refuses leaves none.
func TestTransfersAreRecordedByTheirEvents(t *testing.T) {
	w := newBridgeWorld(t)
	allowed := false
	w.agent.session = func(ch ssh.Channel, r *ssh.Request) {
		if !allowed {
			io.WriteString(ch.Stderr(), "no files") //nolint:errcheck // the proxy is gone then
		}
		r.Reply(allowed, nil) //nolint:errcheck // as above
		io.Copy(ch, ch)       //nolint:errcheck // a file comes back
		exit(ch, 0)
	}
	c := w.mustConnect()
	for _, allow := range []bool{false, true} {
		allowed = allow
		ch, reqs, err := c.Conn().OpenChannel("session", nil)
		w.must(err)
		go ssh.DiscardRequests(reqs)
		ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"}))
		if err != nil || ok != allow {
			t.Fatalf("allowed %v: %v %v", allow, ok, err)
		}
		if !allow {
			b := make([]byte, 8)
			if _, err := io.ReadFull(ch.Stderr(), b); err != nil || string(b) != "no files" {
				t.Errorf("%q, %v", b, err)
			}
			if infos, _ := w.tapes.kept(); len(infos) > 0 {
				t.Errorf("a recording of nothing: %+v", infos)
			}
			ch.Close()
			continue
		}
		io.WriteString(ch, "secret file") //nolint:errcheck // read back
		ch.CloseWrite()                   //nolint:errcheck // as above
		if b, err := io.ReadAll(ch); err != nil || string(b) != "secret file" {
			t.Errorf("%q, %v", b, err)
		}
	}
	c.Close()
	w.ender.open.Wait()
	if infos, said := w.tapes.kept(); len(infos) != 1 || slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "out:") }) || !slices.Contains(said, "close") {
		t.Errorf("%+v %q", infos, said)
	}
}

// TestAnAgentThatSpeaksUnasked is not heard, as nothing records it.
func TestAnAgentThatSpeaksUnasked(t *testing.T) {
	w := newBridgeWorld(t)
	c := w.mustConnect()
	w.agent.session = func(ch ssh.Channel, r *ssh.Request) {
		io.WriteString(ch, "unrecorded") //nolint:errcheck // the proxy is gone then
		r.Reply(false, nil)              //nolint:errcheck // as above
	}
	ch, reqs, err := c.Conn().OpenChannel("session", nil)
	w.must(err)
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); ok {
		t.Fatalf("%v %v", ok, err)
	}
	if b, err := io.ReadAll(ch); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// TestWhatPasses: forwards, joins and requests reach the agent with what they say,
// and its no comes back with its reason; what is on no list goes nowhere.
func TestWhatPasses(t *testing.T) {
	w := newBridgeWorld(t)
	c := w.mustConnect()
	for _, kind := range []string{"direct-tcpip", types.JoinChannel} {
		ch, reqs, err := c.Conn().OpenChannel(kind, []byte("payload"))
		w.must(err)
		go ssh.DiscardRequests(reqs)
		io.WriteString(ch, "echo") //nolint:errcheck // read back
		b := make([]byte, 4)
		if _, err := io.ReadFull(ch, b); err != nil || string(b) != "echo" {
			t.Errorf("%s: %q, %v", kind, b, err)
		}
		ch.Close()
	}
	ok, reply, err := c.Conn().SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		Addr string
		Port uint32
	}{"", 0}))
	if err != nil || !ok || len(reply) != 4 {
		t.Errorf("%v %v %v", ok, reply, err)
	}
	if ok, _, err := c.Conn().SendRequest("cancel-tcpip-forward", true, nil); err != nil || ok {
		t.Errorf("the agent's no: %v %v", ok, err)
	}
	var open *ssh.OpenChannelError
	if _, _, err := c.Conn().OpenChannel("x11", nil); !errors.As(err, &open) || open.Reason != ssh.UnknownChannelType {
		t.Errorf("x11: %v", err)
	}
	if ok, _, err := c.Conn().SendRequest("no-more-sessions@openssh.com", true, nil); err != nil || ok {
		t.Errorf("an unknown request: %v %v", ok, err)
	}
	// What the agent opens towards the client.
	for _, kind := range []string{"forwarded-tcpip", "auth-agent@openssh.com", "session"} {
		in := c.Incoming(kind)
		go func() {
			for nc := range in {
				ch, reqs, err := nc.Accept()
				if err != nil {
					continue
				}
				go ssh.DiscardRequests(reqs)
				ch.Write(nc.ExtraData()) //nolint:errcheck // the proxy is gone then
				ch.Close()
			}
		}()
		ch, reqs, err := w.agent.conn.OpenChannel(kind, []byte("from "+kind))
		if kind == "session" {
			if err == nil {
				t.Error("an agent opens a session at the client")
			}
			continue
		}
		w.must(err)
		go ssh.DiscardRequests(reqs)
		if b, err := io.ReadAll(ch); err != nil || string(b) != "from "+kind {
			t.Errorf("%s: %q, %v", kind, b, err)
		}
	}
	if slices.Contains(w.agent.global, "no-more-sessions@openssh.com") {
		t.Error("an unknown request reached the agent")
	}
	if infos, _ := w.tapes.kept(); len(infos) > 0 {
		t.Errorf("recorded: %+v", infos)
	}
}

// TestWhoDoesNotCross: who is not the one at the gate, whom the agent refuses (in
// its own words, and told by itself), and an agent that is another host.
func TestWhoDoesNotCross(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*bridgeWorld)
		want string
		told int // events of the proxy's
	}{
		"another at the gate":    {func(w *bridgeWorld) { w.in.User = "bob" }, "not the one that came through the proxy", 1},
		"another cluster's":      {func(w *bridgeWorld) { w.in.Cluster = "leaf" }, "not the one that came through the proxy", 1},
		"refused by the agent":   {func(w *bridgeWorld) { w.agent.refuse = "access denied: no such account" }, "access denied: no such account", 0},
		"another host":           {func(w *bridgeWorld) { w.agent.signer = w.host(proxyID, types.RoleNode) }, "not " + nodeID, 1},
		"no host of the cluster": {func(w *bridgeWorld) { w.agent.signer = bare(w.t) }, "", 1},
	} {
		w := newBridgeWorld(t)
		c.edit(w)
		conn, err := w.connect()
		if err == nil {
			conn.Close()
			t.Errorf("%s: crosses", name)
			continue
		}
		w.ender.open.Wait()
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(w.log.Events(event.TypeAuth)); n != c.told {
			t.Errorf("%s: told %d times", name, n)
		}
	}
}

// TestACommandThatEndsAtOnceWasAnswered: the end of a command never overtakes the
// answer to its client.
func TestACommandThatEndsAtOnceWasAnswered(t *testing.T) {
	w := newBridgeWorld(t)
	w.agent.session = func(ch ssh.Channel, r *ssh.Request) {
		r.Reply(true, nil) //nolint:errcheck // the proxy is gone then
		exit(ch, 0)
	}
	c := w.mustConnect()
	for i := range 300 {
		if err := c.Run(t.Context(), sshclient.Command{Line: "true"}); err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
	}
}
