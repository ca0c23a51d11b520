package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/api/authclient"
	"teleport/client"
	"teleport/client/identityfile"
	"teleport/test/cluster"
	"teleport/types"
)

// sign makes files for alice on the auth host.
func (w *world) sign(t *testing.T, format string, more ...string) string {
	t.Helper()
	out := filepath.Join(w.alice.Home, "signed-"+format)
	w.Tctl(append([]string{"auth", "sign", "--user=alice", "--format=" + format, "--out=" + out, "--ttl=1h"}, more...)...).OK(t)
	return out
}

// TestSignedIdentityFile lets a machine act without a log-in.
func TestSignedIdentityFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	id := w.sign(t, "file")
	if info, err := os.Stat(id); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	w.Tctl("auth", "sign", "--user=alice", "--out="+id).Exit(t, 2) // nothing is overwritten
	w.Tctl("auth", "sign", "--user=nobody", "--out="+id+"2").Exit(t, 5)

	home := t.TempDir() // of a machine that nobody ever logged in on
	run := func(program string, args ...string) cluster.Result {
		return cluster.Run(cluster.Command{Path: filepath.Join(w.Bin(), program), Args: args, Dir: home,
			Env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}})
	}
	proxy := "--proxy=" + w.ProxyAddr()
	contains(t, run("tsh", "-i", id, proxy, "ls").OK(t), w.node.Name)
	if out := run("tsh", "-i", id, proxy, "ssh", w.to, "id -un").OK(t); strings.TrimSpace(out) != w.os.Name {
		t.Errorf("it is %q", out)
	}
	contains(t, run("tctl", "-i", id, "--auth-server="+w.ProxyAddr(), "nodes", "ls").OK(t), w.node.Name)
	contains(t, run("tctl", "-i", id, "--auth-server="+w.Auth.AuthAddr, "nodes", "ls").OK(t), w.node.Name)
	run("tsh", "-i", id+"-not-there", proxy, "ls").Exit(t, 2)
}

// TestSignedOpenSSHFiles are used by ssh alone, with the proxy as jump host, and
// without a log-in.
func TestSignedOpenSSHFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	key := w.sign(t, "openssh")
	known := write(t, filepath.Join(w.Dir, "known_hosts"), strings.ReplaceAll(w.Tctl("auth", "export", "--type=host").OK(t), "*.test,test", "*"))
	host, port, _ := strings.Cut(w.ProxyAddr(), ":")
	config := write(t, filepath.Join(w.Dir, "config"), "Host *\n  IdentityFile "+key+"\n  CertificateFile "+key+"-cert.pub\n  IdentitiesOnly yes\n"+
		"  UserKnownHostsFile "+known+"\n  StrictHostKeyChecking yes\n  BatchMode yes\n  User "+w.os.Name+"\nHost "+host+"\n  Port "+port+"\n  HostKeyAlias proxy.test\n")
	ssh := cluster.Need(t, "ssh", "openssh-client")
	for _, name := range []string{w.node.Name, w.node.Name + ".test", w.node.UUID(t)} {
		r := cluster.Run(cluster.Command{Path: ssh, Args: []string{"-F", config, "-J", host, name, "echo to $SSH_TELEPORT_HOST_UUID"},
			Env: []string{"HOME=" + w.Dir, "PATH=" + os.Getenv("PATH")}})
		if r.OK(t) != "to "+w.node.UUID(t)+"\n" {
			t.Errorf("%s", r)
		}
	}
	// The jump host opens nothing but ways to nodes.
	for _, bad := range [][]string{{host, "id"}, {"-W", "127.0.0.1:" + port, host}, {"-J", host, "no-such-node", "id"}} {
		r := cluster.Run(cluster.Command{Path: ssh, Args: append([]string{"-F", config}, bad...), Env: []string{"HOME=" + w.Dir, "PATH=" + os.Getenv("PATH")}})
		r.Exit(t, 255)
	}
}

// TestSignedTLSFiles are used by a program that speaks TLS and the API.
func TestSignedTLSFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	base := w.sign(t, "tls")
	text := cluster.Run(cluster.Command{Path: cluster.Need(t, "openssl", "openssl"), Args: []string{"x509", "-in", base + ".crt", "-noout", "-subject", "-checkend", "0"}}).OK(t)
	contains(t, text, "alice", "will not expire")
	curl := cluster.Need(t, "curl", "curl")
	call := func(method string, more ...string) cluster.Result {
		args := append([]string{"-sS", "--http2", "--cacert", base + ".cas", "--connect-to", "auth.test:443:" + w.Auth.AuthAddr, "-X", "POST",
			"-H", "Content-Type: application/json", "-d", "{}", "https://auth.test/" + method}, more...)
		return w.alice.Run(cluster.Command{Path: curl, Args: args})
	}
	contains(t, call("teleport.status.v1.StatusService/Status", "--cert", base+".crt", "--key", base+".key").OK(t), "test")
	contains(t, call("teleport.status.v1.StatusService/Status").Stdout, "unauthenticated")
}

// TestTheAPIAsAClient lists nodes and makes a role with the library.
func TestTheAPIAsAClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{Agents: 2})
	cred, err := identityfile.ReadFile(w.sign(t, "file"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{ProxyAddr: w.ProxyAddr(), Cluster: cred.Cluster(), Credential: cred})
	if err != nil {
		t.Fatal(err)
	}
	api, err := c.API()
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	nodes, err := authclient.List[types.Node](t.Context(), api, types.KindNode, authclient.ListOptions{})
	if err != nil || len(nodes) != 2 {
		t.Fatalf("%d nodes, %v", len(nodes), err)
	}
	var shown []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(w.Tctl("nodes", "ls", "--format=json").OK(t)), &shown); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		if n.Metadata.Name != shown[i].Metadata.Name || n.Spec.Hostname == "" || !n.Spec.UseTunnel {
			t.Errorf("the API says %+v, tctl %v", n, shown[i])
		}
	}
}

// TestSchemas asks for the schema of each kind and holds its example against it.
func TestSchemas(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{NoOracles: "nothing happens in it"})
	for _, k := range types.Kinds() {
		r := c.Tctl("schema", k.Name)
		if k.Internal {
			if r.Code == 0 {
				t.Errorf("%s is internal and has a schema", k.Name)
			}
			continue
		}
		var s struct {
			Schema     string                     `json:"$schema"`
			Properties map[string]json.RawMessage `json:"properties"`
		}
		if err := json.Unmarshal([]byte(r.OK(t)), &s); err != nil || s.Schema == "" {
			t.Fatalf("%s: %v", k.Name, err)
		}
		doc, err := types.Encode(k.Example())
		if err != nil {
			t.Fatal(err)
		}
		var example map[string]json.RawMessage
		if err := json.Unmarshal(doc, &example); err != nil {
			t.Fatal(err)
		}
		for key := range example {
			if s.Properties[key] == nil {
				t.Errorf("%s.%s is not in the schema", k.Name, key)
			}
		}
	}
	contains(t, c.Tctl("schema", "rolle").Exit(t, 5).Stderr, "role")
}
