package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// document is what all resources have.
type document struct {
	Kind     string `json:"kind"`
	Version  string `json:"version"`
	Metadata struct {
		Name        string            `json:"name"`
		Description string            `json:"description"`
		Labels      map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec map[string]any `json:"spec"`
}

func (w *world) list(t *testing.T, kind string) []document {
	t.Helper()
	return documents(t, w.Tctl("get", kind, "--format=json").OK(t))
}

func documents(t *testing.T, text string) []document {
	t.Helper()
	var list []document
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return list
}

func TestTctlManagesUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	contains(t, w.Tctl("users", "ls").OK(t), "alice", "access", "editor")
	w.Tctl("users", "add", "alice", "--roles=access").Exit(t, 2)
	w.Tctl("users", "add", "../etc", "--roles=access").Exit(t, 2)
	w.Tctl("users", "update", "nobody", "--set-roles=access").Exit(t, 5)
	w.Tctl("users", "update", "alice", "--set-roles=no-such-role").Exit(t, 2)

	bob := w.User(t, "bob", []string{"access"}, []string{w.os.Name})
	bob.Login(t)
	var reset struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal([]byte(w.Tctl("users", "reset", "bob", "--format=json").OK(t)), &reset); err != nil || reset.URL == "" {
		t.Fatal(err)
	}
	if r := bob.TshIn(bob.Password+"\n"+bob.OTP(t)+"\n", "login", "--proxy="+w.ProxyAddr(), "--user=bob", "--insecure", "--force"); r.Code == 0 {
		t.Error("the old password still works")
	}
	bob.Accept(t, reset.URL)
	bob.Login(t, "--force")
	w.Tctl("users", "rm", "bob").OK(t)
	if out := w.Tctl("users", "ls").OK(t); strings.Contains(out, "bob") {
		t.Errorf("bob is still there:\n%s", out)
	}
	for _, e := range []string{"user.create", "user.delete", "user.login"} {
		w.Events(t, 1, e, "")
	}
}

func TestTctlShowsTheCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{Agents: 2, Proxies: 1})
	uuids := []string{w.Agents[0].UUID(t), w.Agents[1].UUID(t)}
	contains(t, w.Tctl("nodes", "ls").OK(t), "node-1", "node-2")
	contains(t, w.Tctl("nodes", "ls", "--format=json").OK(t), uuids...)
	if out := w.Tctl("inventory", "status").OK(t); !regexp.MustCompile(`(?m)^total +4 *$`).MatchString(out) {
		t.Errorf("of four processes there is told:\n%s", out)
	}
	contains(t, w.Tctl("inventory", "list").OK(t), append(uuids, "Node", "Proxy", "Auth")...)
	contains(t, w.Tctl("status").OK(t), "test", "sha256:", w.CAPin(t))
	if out := w.Tctl("nodes", "ls", "--search=node-2").OK(t); strings.Contains(out, "node-1") {
		t.Errorf("--search=node-2 shows:\n%s", out)
	}

	w.Token(t, "node,proxy")
	out := w.Tctl("tokens", "ls").OK(t)
	contains(t, out, "Node", "token")
	own := w.Token(t, "node", "--value=a-token-of-sixteen-and-more")
	if out := w.Tctl("tokens", "ls").OK(t); strings.Contains(out, own) {
		t.Errorf("the secret is shown again:\n%s", out)
	}
	w.Tctl("tokens", "rm", own).OK(t)
	w.Tctl("tokens", "rm", own).Exit(t, 5)

	contains(t, w.Tctl("auth", "export", "--type=user").OK(t), "ssh-")
	contains(t, w.Tctl("auth", "export", "--type=host").OK(t), "@cert-authority *.test,test ssh-")
	contains(t, w.Tctl("auth", "export", "--type=tls-host").OK(t), "BEGIN CERTIFICATE")
	if pin := strings.TrimSpace(w.Tctl("auth", "export", "--type=tls-host", "--fingerprint").OK(t)); pin != w.CAPin(t) {
		t.Errorf("%s is not the pin", pin)
	}
	// As any program does that follows redirects to no one: over the web.
	r := w.alice.Run(cluster.Command{Path: cluster.Need(t, "curl", "curl"), Args: []string{"-ksS", "https://" + w.ProxyAddr() + "/webapi/auth/export?type=tls-host"}})
	if r.OK(t) != w.Tctl("auth", "export", "--type=tls-host").OK(t) {
		t.Errorf("the web exports another authority: %s", r)
	}
}

func TestTctlFromALogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	contains(t, w.alice.Tctl("nodes", "ls").OK(t), w.node.Name)
	contains(t, w.alice.Tctl("users", "ls").OK(t), "alice")
	bob := w.User(t, "bob", []string{"access"}, []string{w.os.Name})
	bob.Tctl("nodes", "ls").Exit(t, 3)
	bob.Login(t)
	bob.Tctl("users", "ls").Exit(t, 4)
	bob.Tctl("users", "add", "eve", "--roles=editor").Exit(t, 4)
	bob.Tctl("audit", "ls").Exit(t, 4)
	bob.Tctl("auth", "sign", "--user=alice", "--out="+filepath.Join(bob.Home, "stolen")).Exit(t, 4)
}

func TestTctlChangesResources(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	file := write(t, filepath.Join(w.Dir, "role.yaml"), `kind: role
version: v7
metadata:
  name: dev
  description: first
spec:
  allow:
    logins: [dev]
    node_labels: {env: dev}
---
kind: role
version: v8
metadata: {name: ops}
spec:
  allow: {logins: ['{{internal.logins}}'], node_labels: {'*': '*'}}
`)
	w.Tctl("create", file).OK(t)
	w.Tctl("create", file).Exit(t, 2)
	w.Tctl("create", "-f", file).OK(t)
	contains(t, w.Tctl("get", "role/dev").OK(t), "kind: role", "name: dev", "env:")
	contains(t, w.Tctl("get", "roles", "--format=text").OK(t), "dev", "ops", "access")

	editor := write(t, filepath.Join(w.Dir, "editor.sh"), "#!/bin/sh\nsed -i s/first/second/ \"$1\"\n")
	if err := os.Chmod(editor, 0o700); err != nil {
		t.Fatal(err)
	}
	edit := func(editor, what string) cluster.Result {
		return cluster.Run(cluster.Command{Path: filepath.Join(w.Bin(), "tctl"), Args: []string{"edit", what},
			Env: []string{"EDITOR=" + editor, "PATH=" + os.Getenv("PATH"), "TELEPORT_CONFIG_FILE=" + w.Auth.ConfigPath}})
	}
	edit(editor, "role/dev").OK(t)
	if d := documents(t, w.Tctl("get", "role/dev", "--format=json").OK(t)); d[0].Metadata.Description != "second" {
		t.Errorf("%+v", d)
	}
	if r := edit("/bin/false", "role/dev"); r.Code == 0 {
		t.Error(r)
	}
	edit(editor, "role/none").Exit(t, 5)

	w.Tctl("update", "role/dev", "--set-labels=team=web").OK(t)
	if d := documents(t, w.Tctl("get", "role/dev", "--format=json").OK(t)); d[0].Metadata.Labels["team"] != "web" {
		t.Errorf("%+v", d)
	}
	w.Tctl("rm", "role/dev").OK(t)
	w.Tctl("get", "role/dev").Exit(t, 5)
	w.Tctl("rm", "role/dev").Exit(t, 5)

	bad := func(want, text string) {
		t.Helper()
		contains(t, w.TctlIn(text, "create").Exit(t, 2).Stderr, want)
	}
	bad("nokind", "kind: nokind\nversion: v1\nmetadata: {name: x}\n")
	bad("allowed", "kind: role\nversion: v7\nmetadata: {name: x}\nspec: {allowed: {}}\n")
	bad("name", "kind: role\nversion: v7\nmetadata: {name: ../x}\nspec: {}\n")
	for _, e := range []string{"role.created", "role.deleted"} {
		w.Events(t, 1, e, "")
	}
}
