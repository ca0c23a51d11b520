package authserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"teleport/access"
	"teleport/audit/audittest"
	"teleport/auth/authapi"
	"teleport/backend"
	"teleport/backend/memkv"
	"teleport/fault"
	"teleport/join"
	"teleport/join/tokenjoin"
	"teleport/keystore/softkeys"
	"teleport/store"
	"teleport/types"
)

const hostUUID = "00000000-0000-4000-8000-00000000000a"

// noLog is an audit log that no test here reads.
type noLog struct{ authapi.AuditLog }

func config(t *testing.T, kv backend.Backend) Config {
	t.Helper()
	ks, err := softkeys.New(kv, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Config{ClusterName: "example", HostUUID: hostUUID, Hostname: "auth1", DataDir: t.TempDir(), Version: "1.0.0",
		Backend: kv, Keystore: ks, Audit: noLog{}, Events: audittest.NewRecorder(),
		Methods: []join.Method{tokenjoin.Method{}}, Log: slog.New(slog.DiscardHandler)}
}

func start(t *testing.T, c Config) (*Server, error) {
	t.Helper()
	return New(t.Context(), c)
}

func TestFirstStartAndSecond(t *testing.T) {
	kv := memkv.New(memkv.Options{})
	c := config(t, kv)
	c.StaticTokens = []StaticToken{{Roles: []types.SystemRole{types.RoleNode}, Secret: types.NewSecret("0123456789abcdef")}}
	s, err := start(t, c)
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := s.Trust().Fingerprint()
	if len(s.Trust().Authorities()) != 6 || s.Cluster() != "example" {
		t.Errorf("%d authorities in %q", len(s.Trust().Authorities()), s.Cluster())
	}
	roles := store.Of[*types.Role](s.Store())
	if err := roles.Delete(t.Context(), access.PresetAuditor, ""); err != nil {
		t.Fatal(err)
	}
	c.StaticTokens, c.ClusterName = nil, ""
	s, err = start(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if s.Trust().Fingerprint() != fingerprint || s.Cluster() != "example" {
		t.Error("the second start made other authorities or another name")
	}
	if _, err := store.Of[*types.Role](s.Store()).Get(t.Context(), access.PresetAuditor); !errors.Is(err, fault.NotFound) {
		t.Errorf("a preset that was deleted came back: %v", err)
	}
	if all, err := store.Of[*types.Token](s.Store()).All(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("static tokens that are no longer configured: %d, %v", len(all), err)
	}
}

func TestClusterNameIsFixed(t *testing.T) {
	kv := memkv.New(memkv.Options{})
	c := config(t, kv)
	if _, err := start(t, c); err != nil {
		t.Fatal(err)
	}
	c.ClusterName = "other"
	_, err := start(t, c)
	if !errors.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), `"example"`) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestConfiguredSettingsReplaceStoredOnes(t *testing.T) {
	kv := memkv.New(memkv.Options{})
	c := config(t, kv)
	n := &types.NetworkingConfig{Header: singleton(types.KindNetworkingConfig, "cluster-networking-config")}
	n.Spec.WebIdleTimeout = types.Duration(time.Minute)
	c.Settings = []types.Resource{n}
	s, err := start(t, c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := store.Of[*types.NetworkingConfig](s.Store()).Get(t.Context(), "")
	if err != nil || got.Spec.WebIdleTimeout.Std() != time.Minute || got.Metadata.Labels[types.OriginLabel] != "config-file" {
		t.Errorf("%+v %v", got, err)
	}
}

// Settings that the file no longer fixes keep their values and may be changed.
func TestSettingsThatLeaveTheFile(t *testing.T) {
	kv := memkv.New(memkv.Options{})
	c := config(t, kv)
	n := &types.NetworkingConfig{Header: singleton(types.KindNetworkingConfig, "cluster-networking-config")}
	n.Spec.WebIdleTimeout = types.Duration(time.Minute)
	c.Settings = []types.Resource{n}
	if _, err := start(t, c); err != nil {
		t.Fatal(err)
	}
	c.Settings = nil
	s, err := start(t, c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := store.Of[*types.NetworkingConfig](s.Store()).Get(t.Context(), "")
	if err != nil || got.Spec.WebIdleTimeout.Std() != time.Minute || got.Metadata.Labels[types.OriginLabel] != "dynamic" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestShortStaticTokenIsRefused(t *testing.T) {
	c := config(t, memkv.New(memkv.Options{}))
	c.StaticTokens = []StaticToken{{Roles: []types.SystemRole{types.RoleNode}, Secret: types.NewSecret("short")}}
	if _, err := start(t, c); !errors.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

// Peers that send nothing, or nonsense, hold up nobody and end with the service.
func TestSilentAndRudePeers(t *testing.T) {
	s, err := start(t, config(t, memkv.New(memkv.Options{})))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	<-s.Replica().Ready()
	for range 8 {
		silent, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	rude, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer rude.Close()
	if _, err := rude.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for _, alpn := range [][]string{nil, {"http/1.1"}, {"teleport-dial"}} {
		conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: alpn})
		if err != nil {
			continue // refused in the handshake
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("ALPN %v is served", alpn)
		}
		_ = conn.Close()
	}
	good, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatalf("a well-behaved client: %v", err)
	}
	_ = good.Close()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}
