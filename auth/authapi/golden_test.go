package authapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"teleport/api/rpc"
	"teleport/cert/tlscert"
	"teleport/keys"
	"teleport/types"
)

// thief is one row of the stolen-credential kit: somebody who shows a
// certificate, rightly or not.
type thief struct {
	name string
	cert *tls.Certificate
}

// forge signs an identity with the cluster's own CA key, as no issuer would.
func (w *world) forge(id *types.Identity, ca types.CAType, issued time.Time) *tls.Certificate {
	w.t.Helper()
	for _, doc := range w.server.Trust().Authorities() {
		if doc.Spec.Type != ca {
			continue
		}
		signer, err := w.keys.Signer(w.t.Context(), doc.Spec.Active.TLSKeyID)
		must(w.t, err)
		block, _ := pem.Decode([]byte(doc.Spec.Active.TLSCert))
		parent, err := x509.ParseCertificate(block.Bytes)
		must(w.t, err)
		own, _ := w.key()
		der, err := tlscert.Sign(id, own.Public(), parent, signer, issued)
		must(w.t, err)
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
	}
	w.t.Fatalf("no authority %s", ca)
	return nil
}

// foreign signs an identity of this cluster's name with an authority that
// nobody here trusts.
func (w *world) foreign(id *types.Identity) *tls.Certificate {
	w.t.Helper()
	ca, err := keys.Generate(keys.ECDSAP256)
	must(w.t, err)
	caPEM, err := tlscert.NewAuthority(ca, types.CAUser, "example", time.Now())
	must(w.t, err)
	block, _ := pem.Decode(caPEM)
	parent, err := x509.ParseCertificate(block.Bytes)
	must(w.t, err)
	own, _ := w.key()
	der, err := tlscert.Sign(id, own.Public(), parent, ca, time.Now())
	must(w.t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
}

func userIdentity(name string, edit func(*types.Identity)) *types.Identity {
	id := &types.Identity{Kind: types.IdentityUser, Cluster: "example", Name: name, IssuedAt: time.Now()}
	id.Authority = types.Authority{Expires: time.Now().Add(time.Hour), Roles: []string{"editor"},
		Traits: map[string][]string{"logins": {name}}, Logins: []string{name}}
	if edit != nil {
		edit(id)
	}
	return id
}

// kit is everybody who may come.
func (w *world) kit() []thief {
	_, proxy := w.host("proxy1", types.RoleProxy)
	_, node := w.host("node1", types.RoleNode)
	_, db := w.host("db1", types.RoleDb)
	locked := w.user("locked", "editor")
	lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "00000000-0000-4000-8000-000000000001"}}}
	lock.Spec.Target.User = "locked"
	_, err := w.store().Put(w.t.Context(), 1, lock)
	must(w.t, err)
	kit := []thief{
		{"anonymous", nil},
		{"admin", w.adminCert()},
		{"no role", w.user("nobody")},
		{"access", w.user("alice", "access")},
		{"editor", w.user("ed", "editor")},
		{"auditor", w.user("audra", "auditor")},
		{"proxy", proxy},
		{"node", node},
		{"database agent", db},
		{"locked editor", locked},
		{"route", w.forge(userIdentity("ed", func(id *types.Identity) {
			id.Authority.Route = &types.Route{Kind: "node", Name: "node1"}
		}), types.CAUser, time.Now())},
		{"usage", w.forge(userIdentity("ed", func(id *types.Identity) { id.Authority.Usage = []string{"ssh"} }), types.CAUser, time.Now())},
		{"other address", w.forge(userIdentity("ed", func(id *types.Identity) {
			id.Authority.PinnedIP = mustAddr("203.0.113.7")
		}), types.CAUser, time.Now())},
		{"expired", w.forge(userIdentity("ed", func(id *types.Identity) {
			id.IssuedAt = time.Now().Add(-2 * time.Hour)
			id.Authority.Expires = time.Now().Add(-time.Hour)
		}), types.CAUser, time.Now().Add(-2*time.Hour))},
		{"foreign authority", w.foreign(userIdentity("ed", nil))},
		{"bridge", w.forge(userIdentity("ed", func(id *types.Identity) {
			id.Kind, id.Authority.ProxyUUID = types.IdentityBridge, "00000000-0000-4000-8000-000000000002"
			id.Authority.Route = &types.Route{Kind: "node", Name: "node1"}
			id.Authority.DisallowReissue, id.Authority.Logins = true, nil
			id.Authority.Expires = time.Now().Add(time.Minute)
		}), types.CAHost, time.Now())},
	}
	w.settle()
	return kit
}

// raw is a client that posts to any procedure.
func (w *world) raw(own *tls.Certificate) *http.Client {
	cfg, err := tlscert.ClientConfig(tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: w.server.Trust, Now: time.Now},
		tlscert.Server{Cluster: "example", Role: types.RoleAuth}, "h2")
	must(w.t, err)
	p := new(http.Protocols)
	p.SetHTTP2(true)
	tr := &http.Transport{TLSClientConfig: cfg, Protocols: p,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dial(ctx) }}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// post calls a procedure with a message and returns the code of the answer: ""
// when it is no error, "handshake" when there was no connection.
func (w *world) post(c *http.Client, procedure string, message []byte, streaming bool) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	contentType := "application/proto"
	if streaming {
		contentType = "application/connect+proto"
		message = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://auth.example"+procedure, bytes.NewReader(message))
	must(w.t, err)
	req.Header.Set("Content-Type", contentType)
	resp, err := c.Do(req)
	if err != nil {
		return "handshake"
	}
	defer resp.Body.Close()
	if streaming && resp.StatusCode == http.StatusOK {
		return streamCode(w.t, resp.Body)
	}
	if resp.StatusCode == http.StatusOK {
		return ""
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	must(w.t, err)
	return codeOf(w.t, body)
}

// streamCode reads the first envelope of a stream: a message, or the end.
func streamCode(t *testing.T, r io.Reader) string {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatalf("stream: %v", err)
	}
	if head[0]&2 == 0 {
		return ""
	}
	body := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatalf("stream: %v", err)
	}
	var end struct {
		Error json.RawMessage `json:"error"`
	}
	must(t, json.Unmarshal(body, &end))
	if end.Error == nil {
		return ""
	}
	return codeOf(t, end.Error)
}

func codeOf(t *testing.T, body []byte) string {
	var e struct {
		Code string `json:"code"`
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Code == "" {
		t.Fatalf("an answer that is no error of the API: %q", body)
	}
	return e.Code
}

func verdict(code string) string {
	switch code {
	case "handshake", "unauthenticated", "permission_denied":
		return "-"
	}
	return "allow"
}

// TestAccessTable calls every procedure as everybody with an empty message. A
// new procedure changes the table: decide who may call it, then record it with
// UPDATE_GOLDEN=1.
func TestAccessTable(t *testing.T) {
	w := newWorld(t)
	kit := w.kit()
	var out strings.Builder
	for _, file := range rpc.Files() {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				fmt.Fprintf(&out, "%s\n", rpc.Procedure(m))
				for _, who := range kit {
					code := w.post(w.raw(who.cert), rpc.Procedure(m), nil, m.IsStreamingClient() || m.IsStreamingServer())
					fmt.Fprintf(&out, "\t%-18s %s\n", who.name, verdict(code))
				}
			}
		}
	}
	golden(t, "testdata/access.golden", out.String())
}

// TestKindTable lists, reads and watches every kind as everybody.
func TestKindTable(t *testing.T) {
	w := newWorld(t)
	kit := w.kit()
	const service = "/teleport.resource.v1.ResourceService/"
	var out strings.Builder
	for _, k := range types.Kinds() {
		fmt.Fprintf(&out, "%s\n", k.Name)
		one := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), k.Name)
		named := protowire.AppendString(protowire.AppendTag(bytes.Clone(one), 3, protowire.BytesType), "none-such")
		for _, who := range kit {
			c := w.raw(who.cert)
			row := []string{}
			for _, v := range []struct {
				verb      string
				message   []byte
				streaming bool
			}{{"List", one, false}, {"Get", named, false}, {"Watch", one, true}, {"Delete", named, false}} {
				code := w.post(c, service+v.verb, v.message, v.streaming)
				got := verdict(code)
				if k.Internal && got == "allow" {
					got = "-" // "there is no such kind"
					if code != "not_found" {
						t.Errorf("%s %s as %s: %q, but the kind is internal", v.verb, k.Name, who.name, code)
					}
				}
				row = append(row, fmt.Sprintf("%s=%s", strings.ToLower(v.verb), got))
			}
			fmt.Fprintf(&out, "\t%-18s %s\n", who.name, strings.Join(row, " "))
		}
	}
	golden(t, "testdata/kinds.golden", out.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if string(want) == got {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s differs from line %d on:\n got %q\nwant %q", path, i+1, at(g, i), at(w, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(end)"
}
