package generation_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/fault"
	"teleport/generation"
)

func TestGenerationsFindEachOther(t *testing.T) {
	data := filepath.Join(t.TempDir(), strings.Repeat("long/", 30)) // a socket's own address would be too long
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3) {
		ln, err := generation.NewHandover(data, n+1).Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			ln.Close()
			continue
		}
		done := make(chan struct{})
		t.Cleanup(func() { ln.Close(); <-done })
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				c.Write([]byte{byte(n + 1)})
				c.Close()
			}
		}()
	}
	stale := filepath.Join(data, "handover", "9.sock")
	elsewhere := filepath.Join(t.TempDir(), "s")
	dead, err := net.Listen("unix", elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	if err := os.Rename(elsewhere, stale); err != nil {
		t.Fatal(err)
	}
	var heard []byte
	err = generation.NewHandover(data, 4).Others(t.Context(), func(c net.Conn) bool {
		defer c.Close()
		b, err := io.ReadAll(c)
		heard = append(heard, b...)
		return err == nil && b[0] == 2
	})
	if err != nil || string(heard) != "\x03\x02" {
		t.Errorf("%v: %v", heard, err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket of a killed generation is left: %v", err)
	}
	if err := generation.NewHandover(data, 2).Others(t.Context(), func(c net.Conn) bool { c.Close(); return false }); !errors.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestADirectoryThatOthersMayEnterIsRefused(t *testing.T) {
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "handover"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := generation.NewHandover(data, 1)
	if _, err := h.Listen(t.Context()); !errors.Is(err, fault.Denied) {
		t.Errorf("listen: %v", err)
	}
	if err := h.Others(t.Context(), func(net.Conn) bool { return true }); !errors.Is(err, fault.Denied) {
		t.Errorf("ask: %v", err)
	}
}
