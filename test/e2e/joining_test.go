package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// byFlags runs "teleport start" on a host of its own, as the person does who
// copied the line that tctl tokens add printed.
func byFlags(t *testing.T, c *cluster.Cluster, operator *cluster.Person, flags ...string) *cluster.Live {
	t.Helper()
	args := append([]string{"start", "--roles=node", "--data-dir=" + filepath.Join(t.TempDir(), "data")}, flags...)
	return operator.Go(t, filepath.Join(c.Bin(), "teleport"), args...)
}

func TestAHostJoinsThroughASelfSignedProxy(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{})
	operator := c.User(t, "operator", []string{"access"}, nil)
	token := write(t, filepath.Join(t.TempDir(), "token"), c.Token(t, "node")+"\n")
	at := "--proxy=" + c.ProxyAddr()
	for name, flags := range map[string][]string{
		"pinned":   {at, "--token=" + token, "--ca-pin=" + c.CAPin(t)},
		"insecure": {at, "--token=" + token, "--insecure"},
	} {
		t.Run(name, func(t *testing.T) {
			live := byFlags(t, c, operator, append(flags, "--nodename="+name)...)
			cluster.Until(t, patience, name+" to be in the list", func() bool {
				if live.Ended() {
					t.Fatalf("it ended: %s", live.Errs)
				}
				return strings.Contains(c.Tctl("nodes", "ls").OK(t), name)
			})
		})
	}
	wrong := "--ca-pin=sha256:" + strings.Repeat("0", 64)
	// A proxy joins at auth itself; the cluster's own second proxies do, pinned.
	atAuth := []string{"--roles=proxy", "--auth-server=" + c.Auth.AuthAddr}
	atAuth = atAuth[:len(atAuth):len(atAuth)]
	for name, bad := range map[string]struct {
		flags []string
		says  []string
	}{
		"a wrong pin":              {[]string{at, "--token=" + token, wrong}, []string{"the CA pin does not match", c.CAPin(t), "tctl status"}},
		"a wrong pin at auth":      {append(atAuth, "--token="+token, wrong), []string{"the CA pin does not match"}},
		"no pin":                   {[]string{at, "--token=" + token}, []string{"not trusted", "ca_pin"}},
		"no pin at auth":           {append(atAuth, "--token="+token), []string{"ca_pin"}},
		"no token":                 {[]string{at, "--insecure"}, []string{"tctl tokens add"}},
		"a token never made":       {[]string{at, "--insecure", "--token=0123456789abcdef0123456789abcdef"}, []string{"token"}},
		"a token for nodes":        {append(atAuth, "--token="+token, "--ca-pin="+c.CAPin(t)), []string{"Proxy"}},
		"a token file that is not": {[]string{at, "--insecure", "--token=/nowhere/token"}, []string{"/nowhere/token"}},
	} {
		t.Run(name, func(t *testing.T) {
			live := byFlags(t, c, operator, bad.flags...)
			if code := live.Wait(t); code == 0 {
				t.Error("it ended as if all were well")
			}
			contains(t, live.Errs.String(), bad.says...)
			if n := strings.Count(live.Errs.String(), "ERROR"); n != 1 || strings.Contains(live.Errs.String(), "goroutine") {
				t.Errorf("not one clear line:\n%s", live.Errs)
			}
		})
	}
}
