package inproc

import (
	"slices"
	"testing"
	"time"

	"teleport/types"
)

// A connection is known to auth by the certificate that it was made with. What a
// host holds open for longer than that must move to a new one before its end.
func TestAHostLivesThroughManyCertificates(t *testing.T) {
	Run(t, Opts{HostTTL: 10 * time.Minute}, func(t *testing.T, w *World) {
		h := w.AddHost(t, "web-1")
		first := h.Member.Identity()
		var last uint64
		for life := range 6 {
			for range 20 {
				time.Sleep(30 * time.Second)
				if !h.Replica.Fresh(time.Now()) {
					t.Fatalf("life %d: the copy of the policy is stale", life)
				}
				if !h.Announcer.Connected() {
					t.Fatalf("life %d: the control stream is down", life)
				}
				if _, err := h.API.AuditHead(t.Context()); err != nil && !isDenied(err) {
					t.Fatalf("life %d: a call fails: %v", life, err)
				}
			}
			id := h.Member.Identity()
			if id.Generation <= last || !id.Authority.Expires.After(time.Now()) {
				t.Fatalf("life %d: generation %d, until %s", life, id.Generation, id.Authority.Expires)
			}
			last = id.Generation
		}
		if !time.Now().After(first.Authority.Expires.Add(40 * time.Minute)) {
			t.Fatal("the story was too short")
		}
		if got := w.Nodes(t); !slices.Equal(got, []string{"web-1"}) {
			t.Errorf("listed: %v", got)
		}
		// A lock is heard on the streams of now.
		s := h.Open(t, w.Person(t, "alice", time.Hour), "root")
		w.Lock(t, types.LockTarget{User: "alice"})
		s.CutWithin(t, time.Second)
	})
}
