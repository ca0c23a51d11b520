package tctlcmd_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"teleport/types"
)

// TestALockWithATypo: what nobody is called is said, with what may have been meant,
// and locked all the same, as it may be about to come; what no lock can be is not
// made, nor is one that would end at once or lock everybody.
func TestALockWithATypo(t *testing.T) {
	w := newWorld(t)
	w.resources.add([]byte(`{"kind":"user","version":"v2","metadata":{"name":"alice"}}`), types.KindUser)
	w.resources.add([]byte(`{"kind":"role","version":"v8","metadata":{"name":"access"}}`), types.KindRole)
	locks := 0
	for _, c := range []struct {
		args  []string
		warns string
	}{
		{[]string{"--user=alice"}, ""},
		{[]string{"--user=alcie", "--message=laptop stolen"}, `WARNING: no user is called "alcie" now; did you mean "alice"?` + "\n"},
		{[]string{"--user=somebody-else-entirely"}, `WARNING: no user is called "somebody-else-entirely" now` + "\n"},
		{[]string{"--role=acess", "--ttl=1h"}, `WARNING: no role is called "acess" now; did you mean "access"?` + "\n"},
		{[]string{"--session=" + none}, `WARNING: no live session is called "` + none + `" now` + "\n"},
		{[]string{"--server-id=" + none}, `WARNING: no host is called "` + none + `" now` + "\n"},
		{[]string{"--user=alice", "--role=access", "--expires=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, ""},
	} {
		r := w.tctl(append([]string{"lock"}, c.args...)...)
		locks++
		if r.code != 0 || r.err != c.warns || !strings.HasPrefix(r.out, "Lock ") || !strings.Contains(r.out, "Lift it with: tctl rm lock/") {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	var last types.Lock
	if docs := w.resources.docs[types.KindLock]; len(docs) != locks || json.Unmarshal(docs[1], &last) != nil || last.Spec.Target.User != "alcie" || last.Spec.Message != "laptop stolen" {
		t.Errorf("%d locks of %d, the second %+v", len(docs), locks, last)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "spec.target"},
		{[]string{"--usr=alice"}, "unknown flag: --usr"},
		{[]string{"alice"}, "takes no argument"},
		{[]string{"--user=alice", "--ttl=tomorrow"}, "is not a duration"},
		{[]string{"--user=alice", "--ttl=-1h"}, "is not a time to come"},
		{[]string{"--user=alice", "--expires=never"}, "never"},
		{[]string{"--user=alice", "--ttl=1h", "--expires=2030-01-01"}, "not both"},
	} {
		if r := w.tctl(append([]string{"lock"}, c.args...)...); r.code != 2 || r.out != "" || !strings.Contains(r.err, c.want) || strings.Count(r.err, "ERROR") != 1 {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	if docs := w.resources.docs[types.KindLock]; len(docs) != locks {
		t.Errorf("%d locks became %d", locks, len(docs))
	}
	// Who may lock need not be able to list.
	w.resources.hidden = map[string]bool{types.KindUser: true}
	if r := w.tctl("lock", "--user=alcie"); r.code != 0 || r.err != "" {
		t.Errorf("%+v", r)
	}
}
