package inproc

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"teleport/api/gen/auditv1"
	"teleport/audit"
	"teleport/audit/chain"
	"teleport/types"
	"teleport/types/event"
)

// recording lets a host write its part of the audit log: the function records one
// event and returns when auth has it.
func recording(t *testing.T, h *Host) func() error {
	t.Helper()
	w, err := audit.NewWriter(audit.WriterOptions{Dir: t.TempDir(), HostUUID: h.UUID(), Cluster: "test", Generation: 1})
	check(t, err)
	s := audit.NewShipper(w, func(ctx context.Context, b chain.Batch) (uint64, error) {
		req := &auditv1.ShipRequest{Generation: b.Generation, Previous: b.Previous[:]}
		for _, r := range b.Records {
			req.Records = append(req.Records, &auditv1.Record{Sequence: r.Sequence, Event: r.Event, Salt: r.Salt, Chain: r.Chain[:]})
		}
		return h.API.Ship(ctx, req)
	}, audit.ShipperOptions{Log: quiet()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); check(t, errors.Join(<-done, w.Close())) })
	return func() error {
		e := &event.AuthFail{User: event.User{User: "alice"}, Server: event.Server{ServerID: h.UUID(), ServerHostname: h.Name},
			Status: event.Status{Error: "no"}}
		if err := w.Emit(t.Context(), e); err != nil {
			return err
		}
		return s.Flush(t.Context())
	}
}

// A connection is known to auth by the certificate that it was made with. What a
// host holds open for longer than that must move to a new one before its end.
func TestAHostLivesThroughManyCertificates(t *testing.T) {
	Run(t, Opts{HostTTL: 10 * time.Minute}, func(t *testing.T, w *World) {
		h := w.AddHost(t, "web-1")
		record := recording(t, h)
		first := h.Member.Identity()
		var last uint64
		for life := range 6 {
			for range 20 {
				time.Sleep(30 * time.Second)
				if !h.Replica.Fresh(time.Now()) {
					t.Fatalf("life %d: the copy of the policy is stale", life)
				}
				for wait := 0; !h.Presence.Connected(); wait++ { // it may be about to move
					if wait == 20 {
						t.Fatalf("life %d: the control stream is down", life)
					}
					time.Sleep(100 * time.Millisecond)
				}
				check(t, record())
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
