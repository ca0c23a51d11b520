package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/fault"
)

// A PROXY header is a client's own claim where no balancer was configured.
func TestNoHeaderIsBelievedUnasked(t *testing.T) {
	for text, want := range map[string]string{
		"version: v3\nproxy_service: {enabled: yes}\n":                                                  "off",
		"version: v3\nproxy_service: {enabled: yes, proxy_protocol: on, trusted_balancers: 10.0.0.1}\n": "on",
		"version: v3\nproxy_service: {enabled: yes, proxy_protocol: off}\n":                             "off",
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

// Whoever is believed about addresses is listed: the switches alone would let every
// client choose its own.
func TestBalancersAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"proxy_protocol: on":                                                   "",
		"trust_x_forwarded_for: yes":                                           "",
		"proxy_protocol: on, trusted_balancers: [10.1.2.3]":                    "10.1.2.3/32",
		"trust_x_forwarded_for: yes, trusted_balancers: '10.1.2.3/8'":          "10.0.0.0/8",
		"proxy_protocol: on, trusted_balancers: ['2001:db8::1', 192.0.2.0/28]": "2001:db8::1/128 192.0.2.0/28",
		"proxy_protocol: on, trusted_balancers: [lb.example.com]":              "",
		"proxy_protocol: on, trusted_balancers: [10.0.0.0/33]":                 "",
		"proxy_protocol: on, trusted_balancers: []":                            "",
		"proxy_protocol: off, trusted_balancers: [all]":                        "",
	} {
		f, err := Parse("test", []byte("version: v3\nproxy_service: {enabled: yes, "+text+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := Build(f, Flags{})
		got := ""
		if err == nil {
			got = strings.Trim(fmt.Sprint(c.Proxy.TrustedBalancers), "[]")
		} else if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "trusted_balancers") {
			t.Errorf("%q: %v", text, err)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
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
