package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"teleport/fault"
)

// A PROXY header is a client's own claim where no balancer was configured.
func TestNoHeaderIsBelievedUnasked(t *testing.T) {
	for text, want := range map[string]string{
		"version: v3\nproxy_service: {enabled: yes}\n":                      "off",
		"version: v3\nproxy_service: {enabled: yes, proxy_protocol: on}\n":  "on",
		"version: v3\nproxy_service: {enabled: yes, proxy_protocol: off}\n": "off",
	} {
		f, err := Parse("test", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c, err := Build(f, Flags{})
		if err != nil {
			t.Fatal(err)
		}
		if c.Proxy.ProxyProtocol != want || c.Proxy.TrustForwardedFor {
			t.Errorf("%q: proxy_protocol %q, trust_x_forwarded_for %t", text, c.Proxy.ProxyProtocol, c.Proxy.TrustForwardedFor)
		}
	}
}

func TestAFileThatAnybodyMayWriteIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "teleport.yaml")
	if err := os.WriteFile(path, []byte("version: v3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); !errors.Is(err, fault.Untrusted) {
		t.Errorf("a file of mode 0666: %v", err)
	}
}
