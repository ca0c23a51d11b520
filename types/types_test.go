package types_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/fault"
	"teleport/types"
)

// freezing lets TestFrozen write documents for kinds that have none yet. It
// never rewrites one.
func freezing() bool { return flag.Lookup("test.run").Value.String() == "TestFrozen/write" }

func TestFrozen(t *testing.T) {
	for _, k := range types.Kinds() {
		file := filepath.Join("testdata", "v1", k.Name+".json")
		r := k.Example()
		if err := r.Validate(); err != nil {
			t.Fatalf("example of %s: %v", k.Name, err)
		}
		want, err := os.ReadFile(file)
		if os.IsNotExist(err) && freezing() {
			b, err := types.Encode(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s has no frozen document (write it with -run TestFrozen/write): %v", k.Name, err)
		}
		want = bytes.TrimSpace(want)
		got, err := types.Decode(want)
		if err != nil {
			t.Errorf("%s: frozen bytes no longer decode: %v", k.Name, err)
			continue
		}
		if b, err := types.Encode(got); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s: frozen bytes changed\n got %s\nwant %s", k.Name, b, want)
		}
	}
}

func TestKindByName(t *testing.T) {
	for in, want := range map[string]string{"users": "user", "User": "user", "roles": "role", "cap": "cluster_auth_preference", "tokens": "token",
		"nodes": "node", "cert-authority": "cert_authority", "ca": "cert_authority", "netconfig": "cluster_networking_config", "recconfig": "session_recording_config",
		"proxies": "proxy", "locks": "lock", "cluster-auth-preference": "cluster_auth_preference"} {
		if k, err := types.KindByName(in); err != nil || k.Name != want {
			t.Errorf("KindByName(%q) = %q, %v; want %q", in, k.Name, err, want)
		}
	}
	if _, err := types.KindByName("noed"); fault.KindOf(err) != fault.NotFound || !strings.Contains(fault.Hint(err), `"node"`) {
		t.Errorf("noed: %v, hint %q", err, fault.Hint(err))
	}
	seen := map[string]bool{}
	for _, k := range types.Kinds() {
		for _, n := range append([]string{k.Name}, k.Aliases...) {
			if seen[n] {
				t.Errorf("%q names two kinds", n)
			}
			seen[n] = true
		}
	}
}

const roleHead = `{"kind":"role","version":"v8","metadata":{"name":"x"},"spec":`

const agentlessHead = `{"kind":"node","version":"v2","sub_kind":"openssh","metadata":{"name":"4D5F3B8E-1F0A-4A51-9A0E-0F6F2A9C7B11"},`

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, doc, path, hint string }{
		{"unknown key", roleHead + `{"allow":{"node_label":{"a":"b"}}}}`, "spec.allow.node_label", "node_labels"},
		{"case variant", roleHead + `{"allow":{"Logins":["root"]}}}`, "spec.allow.Logins", "logins"},
		{"duplicate", roleHead + `{"deny":{"logins":["a"],"logins":[]}}}`, "spec.deny.logins", ""},
		{"duplicate label", roleHead + `{"allow":{"node_labels":{"a":"b","a":"c"}}}}`, "spec.allow.node_labels.a", ""},
		{"wrong type", roleHead + `{"options":{"max_sessions":"many"}}}`, "spec.options.max_sessions", ""},
		{"bare number duration", roleHead + `{"options":{"max_session_ttl":30}}}`, "spec.options.max_session_ttl", ""},
		{"bad duration", roleHead + `{"options":{"max_session_ttl":"30 minutes"}}}`, "spec.options.max_session_ttl", ""},
		{"negative", roleHead + `{"options":{"max_sessions":-1}}}`, "spec.options.max_sessions", ""},
		{"number as text", roleHead + `{"allow":{"node_labels":{"a":1}}}}`, "spec.allow.node_labels.a", ""},
		{"rule kind", roleHead + `{"allow":{"rules":[{"resources":["usr"],"verbs":["read"]}]}}}`, "spec.allow.rules[0].resources[0]", "user"},
		{"rule verb", roleHead + `{"allow":{"rules":[{"resources":["user"],"verbs":["raed"]}]}}}`, "spec.allow.rules[0].verbs[0]", "read"},
		{"closed list", roleHead + `{"options":{"lock":"strickt"}}}`, "spec.options.lock", "strict"},
		{"wildcard login", roleHead + `{"allow":{"logins":["*"]}}}`, "spec.allow.logins[0]", "internal.logins"},
		{"login with dash", roleHead + `{"allow":{"logins":["-oProxyCommand=x"]}}}`, "spec.allow.logins[0]", ""},
		{"star key", roleHead + `{"allow":{"node_labels":{"*":"prod"}}}}`, "spec.allow.node_labels.*", ""},
		{"v8 api group", roleHead + `{"allow":{"kubernetes_resources":[{"kind":"*","name":"*"}]}}}`, "spec.allow.kubernetes_resources[0].api_group", ""},
		{"v8 singular", roleHead + `{"allow":{"kubernetes_resources":[{"kind":"pod","name":"*","namespace":"*"}]}}}`, "spec.allow.kubernetes_resources[0].kind", ""},
		{"v9 only", roleHead + `{"allow":{"app_resources":[{"allow_all":true}]}}}`, "spec.allow.app_resources", ""},
		{"thresholds in deny", roleHead + `{"deny":{"request":{"thresholds":[{"approve":1}]}}}}`, "spec.deny.request.thresholds", ""},
		{"db roles and permissions", roleHead + `{"allow":{"db_roles":["a"],"db_permissions":[{"permissions":["SELECT"]}]}}}`, "spec.allow.db_roles", ""},
		{"idp in v8", roleHead + `{"options":{"idp":{"saml":{"enabled":true}}}}}`, "spec.options.idp", ""},
		{"control character", roleHead + `{"options":{"request_prompt":"a\u001b[2Jb"}}}`, "spec.options.request_prompt", ""},
		{"NUL", roleHead + `{"options":{"request_prompt":"a\u0000b"}}}`, "spec.options.request_prompt", ""},
		{"kind typo", `{"kind":"rol","version":"v8","metadata":{"name":"x"}}`, "kind", "role"},
		{"kind plural", `{"kind":"roles","version":"v8","metadata":{"name":"x"}}`, "kind", "role"},
		{"version", `{"kind":"role","version":"v99","metadata":{"name":"x"}}`, "version", ""},
		{"name with slash", `{"kind":"role","version":"v8","metadata":{"name":"a/b"}}`, "metadata.name", ""},
		{"name with dash first", `{"kind":"user","version":"v2","metadata":{"name":"-rf"}}`, "metadata.name", ""},
		{"name empty", `{"kind":"user","version":"v2","metadata":{"name":""}}`, "metadata.name", ""},
		{"name long", `{"kind":"user","version":"v2","metadata":{"name":"` + strings.Repeat("a", 129) + `"}}`, "metadata.name", ""},
		{"name unicode", `{"kind":"user","version":"v2","metadata":{"name":"аlice"}}`, "metadata.name", ""},
		{"label key", `{"kind":"node","version":"v2","metadata":{"name":"x","labels":{"-a":"b"}},"spec":{"hostname":"h"}}`, "metadata.labels.-a", ""},
		{"label value", `{"kind":"node","version":"v2","metadata":{"name":"x","labels":{"a":"b\u202ec"}},"spec":{"hostname":"h"}}`, "metadata.labels.a", ""},
		{"hostname", `{"kind":"node","version":"v2","metadata":{"name":"x"},"spec":{"hostname":"a b"}}`, "spec.hostname", ""},
		{"hostname dash", `{"kind":"node","version":"v2","metadata":{"name":"x"},"spec":{"hostname":"-h"}}`, "spec.hostname", ""},
		{"agentless name", `{"kind":"node","version":"v2","sub_kind":"openssh","metadata":{"name":"web-1"},"spec":{"hostname":"h","addr":"10.0.0.9:22"}}`, "metadata.name", "uuidgen"},
		{"agentless name in capitals", agentlessHead + `"spec":{"hostname":"h","addr":"10.0.0.9:22"}}`, "metadata.name", "uuidgen"},
		{"agentless without an address", strings.ToLower(agentlessHead) + `"spec":{"hostname":"h"}}`, "spec.addr", "10.0.0.9:22"},
		{"agentless without a port", strings.ToLower(agentlessHead) + `"spec":{"hostname":"h","addr":"10.0.0.9"}}`, "spec.addr", ":22"},
		{"agentless without a host", strings.ToLower(agentlessHead) + `"spec":{"hostname":"h","addr":":22"}}`, "spec.addr", ":22"},
		{"agentless on no port", strings.ToLower(agentlessHead) + `"spec":{"hostname":"h","addr":"10.0.0.9:0"}}`, "spec.addr", ""},
		{"agentless on a named port", strings.ToLower(agentlessHead) + `"spec":{"hostname":"h","addr":"10.0.0.9:ssh"}}`, "spec.addr", ""},
		{"agentless everywhere", strings.ToLower(agentlessHead) + `"spec":{"hostname":"h","addr":"[::]:22"}}`, "spec.addr", ""},
		{"agentless without a host name", strings.ToLower(agentlessHead) + `"spec":{"addr":"10.0.0.9:22"}}`, "spec.hostname", ""},
		{"trait login", `{"kind":"user","version":"v2","metadata":{"name":"x"},"spec":{"traits":{"logins":["-x"]}}}`, "spec.traits.logins[0]", ""},
		{"singleton name", `{"kind":"cluster_auth_preference","version":"v2","metadata":{"name":"other"}}`, "metadata.name", ""},
		{"no second factor", `{"kind":"cluster_auth_preference","version":"v2","spec":{"second_factor":"off"}}`, "spec.second_factor", "otp"},
		{"empty lock", `{"kind":"lock","version":"v2","metadata":{"name":"x"},"spec":{"target":{}}}`, "spec.target", ""},
		{"admin token", `{"kind":"token","version":"v2","metadata":{"name":"x"},"spec":{"roles":["Admin"],"join_method":"token"}}`, "spec.roles[0]", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := types.Decode([]byte(c.doc))
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("got %v, want an invalid document", err)
			}
			if !strings.HasPrefix(fault.Message(err), c.path+": ") {
				t.Errorf("message %q does not name %s", fault.Message(err), c.path)
			}
			if !strings.Contains(fault.Hint(err), c.hint) {
				t.Errorf("hint %q does not hold %q", fault.Hint(err), c.hint)
			}
		})
	}
}

func TestDecodeRefusesForm(t *testing.T) {
	for name, doc := range map[string]string{
		"empty": "", "list": "[]", "two": "{} {}", "no kind": "{}", "bad utf-8": "{\"kind\":\"\xff\"}", "cut": `{"kind":"role"`,
		"deep": strings.Repeat("[", 5000), "deep in spec": roleHead + strings.Repeat(`{"allow":`, 100) + "1" + strings.Repeat("}", 100) + "}",
		"large": roleHead + `{"options":{"request_prompt":"` + strings.Repeat("a", types.MaxDocument) + `"}}}`,
	} {
		if _, err := types.Decode([]byte(doc)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestDecodeLenient(t *testing.T) {
	doc := []byte(roleHead + `{"allow":{"logins":["root"],"from_the_future":{"a":[1]}}}}`)
	if _, err := types.Decode(doc); err == nil {
		t.Error("strict decoding accepts an unknown key")
	}
	r, unknown, err := types.DecodeLenient(doc)
	if err != nil || len(unknown) != 1 || unknown[0] != "spec.allow.from_the_future" || r.Head().Name() != "x" {
		t.Errorf("got %v, %v, %v", r, unknown, err)
	}
}

func TestRoleVersions(t *testing.T) {
	decode := func(version, allow string) *types.Role {
		t.Helper()
		r, err := types.Decode([]byte(fmt.Sprintf(`{"kind":"role","version":%q,"metadata":{"name":"x"},"spec":{"allow":%s}}`, version, allow)))
		if err != nil {
			t.Fatal(err)
		}
		return r.(*types.Role)
	}
	a := decode("v3", `{"logins":["root"]}`).Spec.Allow
	if a.NodeLabels["*"] == nil || a.DBLabels["*"] == nil || len(a.KubernetesResources) != 1 || a.KubernetesResources[0].Kind != "pod" {
		t.Errorf("v3 defaults are %+v", a)
	}
	if a := decode("v3", `{}`).Spec.Allow; a.NodeLabels != nil {
		t.Error("v3 without logins gets node labels")
	}
	if a := decode("v3", `{"logins":["root"],"node_labels":{}}`).Spec.Allow; len(a.NodeLabels) != 0 {
		t.Error("v3 with empty node labels gets a wildcard")
	}
	if a := decode("v4", `{"logins":["root"]}`).Spec.Allow; a.NodeLabels != nil {
		t.Error("v4 gets node labels")
	}
	for version, want := range map[string]int{"v5": 1, "v6": 0, "v7": 1, "v8": 1} {
		if a := decode(version, `{"kubernetes_labels":{"*":"*"}}`).Spec.Allow; len(a.KubernetesResources) != want {
			t.Errorf("%s: %v", version, a.KubernetesResources)
		}
	}
	// "None" survives being stored and read again.
	r := decode("v7", `{"kubernetes_labels":{"*":"*"},"kubernetes_resources":[]}`)
	b, err := types.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := types.Decode(b)
	if err != nil || len(again.(*types.Role).Spec.Allow.KubernetesResources) != 0 {
		t.Errorf("an empty list became a default: %s %v", b, err)
	}
	decode("v9", `{"app_resources":[{"allow_all":true}]}`)
	decode("v7", `{"kubernetes_resources":[{"kind":"namespace","name":"prod"},{"kind":"pod","namespace":"*","name":"*","verbs":["get","exec"]}]}`)
}

func TestMFARequirementForms(t *testing.T) {
	for in, want := range map[string]types.MFARequirement{"false": 0, "true": 1, "0": 0, "3": types.MFAHardwareKeyTouch, `"hardware_key"`: types.MFAHardwareKey, `"no"`: 0} {
		var m types.MFARequirement
		if err := json.Unmarshal([]byte(in), &m); err != nil || m != want {
			t.Errorf("%s: %v %v", in, m, err)
		}
	}
	var m types.MFARequirement
	if err := json.Unmarshal([]byte("9"), &m); err == nil {
		t.Error("9 is accepted")
	}
}

// TestSecretsStay: only Encode writes the secrets of internal kinds.
func TestSecretsStay(t *testing.T) {
	for _, k := range types.Kinds() {
		r := k.Example()
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "doc", r)
		plain, _ := json.Marshal(r)
		shown := fmt.Sprintf("%v %+v %#v %s %s", r, r, r, plain, log.String())
		for _, secret := range []string{"JBSWY3DPEHPK3PXP", "aGFzaA=="} {
			if strings.Contains(shown, secret) {
				t.Errorf("%s shows a secret", k.Name)
			}
		}
		b, err := types.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if !k.Internal && bytes.Contains(b, []byte("***")) {
			t.Errorf("%s: only internal kinds hold secrets", k.Name)
		}
		if k.Name == types.KindUserCredentials && !bytes.Contains(b, []byte("JBSWY3DPEHPK3PXP")) {
			t.Error("the stored form lost the secret")
		}
	}
}

func TestDefaults(t *testing.T) {
	p, n, rec := &types.AuthPreference{}, &types.NetworkingConfig{}, &types.RecordingConfig{}
	for _, r := range []types.Resource{p, n, rec} {
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	if p.Spec.DefaultSessionTTL.Std().Hours() != 12 || p.Spec.SecondFactors[0] != "otp" || p.Spec.LockingMode != "best_effort" || !*p.Spec.AllowLocalAuth || p.Metadata.Name != "cluster-auth-preference" {
		t.Errorf("%+v", p.Spec)
	}
	if n.Spec.KeepAliveCountMax != 3 || n.Spec.RoutingStrategy != "unambiguous_match" || rec.Spec.Mode != "node" {
		t.Errorf("%+v %+v", n.Spec, rec.Spec)
	}
}

func FuzzDecode(f *testing.F) {
	for _, k := range types.Kinds() {
		b, err := types.Encode(k.Example())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := types.Decode(b)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.Limit {
				t.Fatalf("an error of kind %s: %v", k, err)
			}
			return
		}
		once, err := types.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := types.Decode(once)
		if err != nil {
			t.Fatalf("%s does not decode: %v", once, err)
		}
		if twice, err := types.Encode(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("encoding is not stable:\n%s\n%s", once, twice)
		}
		if _, unknown, err := types.DecodeLenient(b); err != nil || len(unknown) > 0 {
			t.Fatalf("lenient differs from strict: %v %v", unknown, err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, kind := range []string{types.KindNode, types.KindRole} {
		info, err := types.KindByName(kind)
		if err != nil {
			b.Fatal(err)
		}
		doc, err := types.Encode(info.Example())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := types.Decode(doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
