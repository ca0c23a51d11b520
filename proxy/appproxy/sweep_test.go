package appproxy

import (
	"strconv"
	"testing"
	"time"

	"teleport/types"
)

type noServers struct{}

func (noServers) AppServers() []*types.AppServer { return nil }

// TestWhoComesIsNotForgotten has people come back to their sessions while those are
// forgotten, as nobody has used them for a while: they are theirs still, or made anew.
func TestWhoComesIsNotForgotten(t *testing.T) {
	o := Options{Hosts: NewHosts(noServers{}, "proxy.example.com:443", func(string) bool { return false }), Now: time.Now}
	x := &visitors{o: o, all: map[string]*visitor{}}
	const people = 200
	looked := make(chan struct{}, 1) // at a session
	over := func() error {
		select {
		case looked <- struct{}{}:
		default:
		}
		return nil
	}
	enter := func(who int) *visitor {
		v, err := x.enter(strconv.Itoa(who), func() *visitor { return &visitor{user: "alice", app: "wiki", over: over} })
		if err != nil {
			t.Fatal("a session that is being forgotten refuses who comes back: ", err)
		}
		return v
	}
	for range 5 {
		for who := range people {
			enter(who).leave(&visit{})
		}
		swept := make(chan struct{})
		go func() { // ends with the sweep
			defer close(swept)
			x.sweep(time.Now().Add(time.Hour))
		}()
		<-looked
		var back []*visitor
		for who := range people {
			back = append(back, enter(who))
		}
		<-swept
		select {
		case <-looked:
		default:
		}
		for _, v := range back {
			if v.ctx.Err() != nil {
				t.Fatal("a session that somebody uses was ended as one that nobody does")
			}
			v.leave(&visit{})
		}
	}
}
