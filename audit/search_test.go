package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

func TestSearch(t *testing.T) {
	l := openLog(t, t.TempDir())
	a, b := newFakeWriter(hostA, 1), newFakeWriter(hostB, 1)
	start := a.at
	var late chain.Batch
	for i := range 40 {
		ingestOK(t, l, a.batch(t, exec("alice", fmt.Sprintf("a%02d", 2*i))))
		b.at = a.at
		x := b.batch(t, exec("bob", fmt.Sprintf("a%02d", 2*i+1)))
		a.at = b.at
		late.Writer, late.Records = x.Writer, append(late.Records, x.Records...)
		if i == 0 {
			late.Previous = x.Previous
		}
	}
	ingestOK(t, l, late) // bob's host was cut off for a while
	var all []string
	for i := range 80 {
		all = append(all, fmt.Sprintf("a%02d", i))
	}
	reversed := slices.Clone(all)
	slices.Reverse(reversed)
	for _, c := range []struct {
		name string
		q    Query
		want []string
	}{
		{"all, oldest first", Query{Ascending: true}, all},
		{"all, newest first", Query{}, reversed},
		{"time", Query{Ascending: true, From: start.Add(3 * time.Second), To: start.Add(6 * time.Second)}, all[2:5]},
		{"user", Query{Ascending: true, User: "bob", To: start.Add(5 * time.Second)}, []string{"a01", "a03"}},
		{"session", Query{Ascending: true, SessionID: "sid-alice", From: start.Add(78 * time.Second)}, []string{"a78"}},
		{"text", Query{Text: "COMMAND\":\"A77"}, []string{"a77"}},
		{"type", Query{Types: []string{event.TypePort}}, nil},
		{"nobody", Query{User: "carol"}, nil},
	} {
		for _, limit := range []int{7, 100} {
			c.q.Limit, c.q.Page = limit, ""
			var got []string
			for {
				r, err := l.Search(t.Context(), c.q)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, commands(t, r)...)
				if c.q.Page = r.Next; r.Next == "" {
					break
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, limit %d: %v", c.name, limit, got)
			}
		}
	}
	if _, err := l.Search(t.Context(), Query{Page: "?"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("bad page: %v", err)
	}
}

func TestExportStretchVerifies(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, dir)
		a, b := newFakeWriter(hostA, 1), newFakeWriter(hostB, 1)
		var times []time.Time
		for i := range 6 {
			times = append(times, time.Now())
			ingestOK(t, l, a.batch(t, exec("alice", fmt.Sprint("a", i))))
			ingestOK(t, l, b.batch(t, exec("bob", fmt.Sprint("b", i))))
			if _, err := l.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		for _, c := range []struct {
			o      ExportOptions
			events uint64
		}{
			{ExportOptions{}, 12},
			{ExportOptions{From: times[2]}, 8},
			{ExportOptions{From: times[2], To: times[4]}, 4},
			{ExportOptions{To: times[1], Redact: true}, 2},
			{ExportOptions{From: time.Now()}, 0},
		} {
			x := exported(t, l, c.o)
			r, err := chain.Verify(bytes.NewReader(x), l.Keys(), nil)
			if err != nil || r.Events != c.events {
				t.Errorf("%+v: %d events, %v", c.o, r.Events, err)
			}
			if c.o.Redact && (bytes.Contains(x, []byte(`"user":"alice"`)) || r.Redacted != r.Events) {
				t.Error("a redacted export holds sensitive fields")
			}
		}
	})
}
