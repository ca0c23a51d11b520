package client

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"teleport/client/clienttest"
	"teleport/fault"
)

func TestCandidates(t *testing.T) {
	for addr, want := range map[string]string{
		"proxy.example": "proxy.example:3080 proxy.example:443", "proxy.example:8443": "proxy.example:8443",
		"https://proxy.example/": "proxy.example:3080 proxy.example:443", "[::1]:1": "[::1]:1", "::1": "[::1]:3080 [::1]:443",
	} {
		if got, err := candidates(addr); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v", addr, got, err)
		}
	}
	for _, addr := range []string{"", "a/b", "user@host", "two words", ":443"} {
		if got, err := candidates(addr); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v, %v", addr, got, err)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"1.2.3", "1.2.4", true}, {"1.10.0", "1.9.0", false}, {"v1.2.3", "1.2.3", false}, {"1.2.3-dev", "1.2.3+git", false}, {"1", "1.0.1", true}} {
		if got := older(c.a, c.b); got != c.want {
			t.Errorf("older(%s, %s) is %v", c.a, c.b, got)
		}
	}
}

func TestClockIsNamed(t *testing.T) {
	c := clienttest.NewCA(t, "example").Credential(t, clienttest.User{Name: "alice", Logins: []string{"root"}})
	if err := checkClock(c, 0, time.Now()); err != nil {
		t.Error(err)
	}
	for skew, side := range map[time.Duration]string{-2 * time.Hour: "2h0m0s ahead of", 2 * time.Hour: "2h0m0s behind"} {
		if err := checkClock(c, skew, time.Now().Add(-skew)); fault.KindOf(err) != fault.Unauthenticated || !strings.Contains(fault.Message(err), side) {
			t.Errorf("%s: %v", skew, err)
		}
	}
}

// A proxy's answer is believed only where it fits what was asked.
func TestLoginReplyRefused(t *testing.T) {
	ca := clienttest.NewCA(t, "example")
	k, err := NewKeys("", false)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewKeys("", false)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(ca.Documents()[1])
	if err != nil {
		t.Fatal(err)
	}
	reply := func(pair Keys, authorities ...json.RawMessage) loginReply {
		line, pem := ca.Certify(t, clienttest.User{Name: "alice", Logins: []string{"root"}}, pair.SSH.Public(), pair.TLS.Public())
		return loginReply{Username: "alice", Cluster: "example", SSHCert: line, TLSCert: encode(pem), Authorities: authorities}
	}
	good := reply(k, doc)
	if _, err := good.credential(k); err != nil {
		t.Fatal(err)
	}
	rival, err := json.Marshal(clienttest.NewCA(t, "bank").Documents()[1])
	if err != nil {
		t.Fatal(err)
	}
	both := reply(k, doc, rival)
	c, err := both.credential(k)
	if err != nil || len(c.Authorities) != 1 || c.Cluster() != "example" {
		t.Errorf("an authority for another cluster came along: %v", err)
	}
	named := func(cluster string) loginReply { r := reply(k, doc); r.Cluster = cluster; return r }
	for name, r := range map[string]loginReply{
		"a pattern as cluster": named("*"), "a path as cluster": named("../x"), "two clusters": named("example,bank"), "a negation": named("!example"),
		"a line break": named("example\nHost *"), "no cluster": named(""),
		"another key": reply(other, doc), "no authority": reply(k), "broken authority": reply(k, json.RawMessage(`{"spec":{"type":"host","active":{"ssh_public":"x"}}}`)),
	} {
		if _, err := r.credential(k); err == nil || fault.KindOf(err) == fault.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewKeys("nonsense", false); fault.KindOf(err) != fault.Invalid {
		t.Errorf("unknown suite: %v", err)
	}
}

func encode(b []byte) string {
	text, _ := json.Marshal(b)
	return strings.Trim(string(text), `"`)
}
