package sshclient_test

import (
	"bytes"
	"context"
	"net"
	"reflect"
	"testing"

	"teleport/sshclient"
	"teleport/sshserver"
)

func TestNoClientWithoutVerifier(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	if _, err := sshclient.New(context.Background(), a, sshclient.Config{Login: "root"}); err == nil {
		t.Fatal("a client without a host verifier")
	}
	if _, err := a.Write([]byte("x")); err == nil {
		t.Error("the connection was left open")
	}
	a, b2 := net.Pipe()
	defer b2.Close()
	if _, err := sshclient.New(context.Background(), a, sshclient.Config{Login: "root", Host: sshclient.HostUUID(nil, "x")}); err == nil {
		t.Fatal("a client with a verifier of nothing")
	}
}

func FuzzSOCKS(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x09localhost\x00\x16"))
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16"))
	f.Add([]byte("\x04\x01\x00\x16\x7f\x00\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		target, err := sshclient.ParseSOCKS(bytes.NewReader(b), func() error { return nil })
		if _, _, serr := net.SplitHostPort(target); err == nil && serr != nil {
			t.Errorf("%q: %v", target, serr)
		}
	})
}

func TestBothEndsAgree(t *testing.T) {
	if a, b := sshclient.Algorithms(), sshserver.Algorithms(); !reflect.DeepEqual(a, b) {
		t.Errorf("client %+v, server %+v", a, b)
	}
}
