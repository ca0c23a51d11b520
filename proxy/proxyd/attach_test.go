package proxyd

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// keeping is a router whose agents offer to resume, or have left.
type keeping struct {
	*agents
	err error
}

func (k keeping) Dial(ctx context.Context, r types.Resource, h dial.Header) (net.Conn, dial.Reply, error) {
	if k.err != nil {
		return nil, dial.Reply{}, k.err
	}
	conn, reply, err := k.agents.Dial(ctx, r, h)
	reply.Resume, reply.Keep = h.Resume > 0, 600
	return conn, reply, err
}

func TestAnAttachPassesTheWholeGate(t *testing.T) {
	w := newWorld(t)
	w.proxy.o.Router = keeping{agents: w.agents}
	w.proxy.o.Proxies = func() []string { return []string{"one:1", "two:1"} }
	w.serve(t)
	h := header("web-1")
	h.Verb, h.Generation, h.Resume = tunframe.Attach, 7, 1
	if _, reply, err := w.dial(t, alice(), h); err != nil || !reply.Resume || reply.Keep != 600 || !slices.Equal(reply.Proxies, []string{"one:1", "two:1"}) {
		t.Errorf("%+v, %v", reply, err)
	}
	if sent := w.agents.seen[0]; sent.Verb != tunframe.Attach || sent.Generation != 7 || sent.Resume != 1 || sent.Stream != h.Stream || sent.Gateway.User != "alice" {
		t.Errorf("the agent was sent %+v", sent)
	}
	// Over a dead connection nobody says that it is dead.
	second, _, err := w.dial(t, alice(), h)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.WriteString(second, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(second, got); err != nil || string(got) != "hello" {
		t.Errorf("while the first is open: %q, %v", got, err)
	}
	h.Name = "db-1" // which alice may not see, whatever stream she names
	if _, _, err := w.dial(t, alice(), h); !errors.Is(err, fault.NotFound) {
		t.Errorf("an attach to a hidden node: %v", err)
	}
	open := header("web-1")
	open.Generation = 7
	if _, reply, err := w.dial(t, alice(), open); err != nil || reply.Resume || reply.Proxies != nil {
		t.Errorf("%+v, %v", reply, err)
	}
	if sent := w.agents.seen[2]; sent.Generation != 0 {
		t.Errorf("a new stream chose generation %d", sent.Generation)
	}
}

func TestAnAgentThatLeftIsToldFromOneThatIsAway(t *testing.T) {
	for _, departed := range []bool{true, false} {
		w := newWorld(t)
		err := error(fault.New(fault.Unavailable, "it is offline"))
		if departed {
			err = fault.Wrap(dial.ErrDeparted, fault.Unavailable, "it is offline since %s", time.Now())
		}
		w.proxy.o.Router = keeping{w.agents, err}
		w.serve(t)
		if _, reply, err := w.dial(t, alice(), header("web-1")); !errors.Is(err, fault.Unavailable) || reply.Departed != departed {
			t.Errorf("%+v, %v", reply, err)
		}
	}
}
