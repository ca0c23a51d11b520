package e2e

import (
	"fmt"
	"testing"

	"teleport/cli/output"
	"teleport/test/cluster"
)

// An administrator ends one session of a person and leaves the others, and is
// told of a lock that would hit nobody.
func TestALockOnASessionEndsItAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	one := w.alice.StartTsh(t, "ssh", w.to, "echo one; exec sleep 600")
	one.WaitFor(t, "one")
	sid := fmt.Sprint(w.Events(t, 1, "session.start", "alice")[0]["sid"])
	two := w.alice.StartTsh(t, "ssh", w.to, "echo two; exec sleep 600")
	two.WaitFor(t, "two")
	w.Tctl("lock", "--session="+sid, "--message=not this one").OK(t)
	if code := one.Wait(t); code == 0 {
		t.Error("the locked session ended as if all were well")
	}
	ends := w.Events(t, 1, "session.end", "alice")
	if len(ends) != 1 || ends[0]["sid"] != sid || ends[0]["reason"] != "lock" {
		t.Errorf("ended: %v", ends)
	}
	if two.Ended() {
		t.Errorf("the other session ended too: %s", two.Out.String())
	}
	cluster.Until(t, within, "the tracker to go", func() bool { return w.Tctl("get", "session_tracker/"+sid).Code == output.ExitNotFound })
	for _, flag := range []string{"--role=acces", "--user=alicia", "--session=" + sid} {
		r := w.Tctl("lock", flag, "--ttl=10s")
		r.OK(t)
		contains(t, r.Stderr, "WARNING: no ")
	}
	contains(t, w.Tctl("lock", "--role=acces", "--ttl=10s").Stderr, `did you mean "access"?`)
	w.Tctl("lock", "--usr=alice").Exit(t, 2)
}
