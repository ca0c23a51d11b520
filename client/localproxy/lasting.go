package localproxy

import (
	"context"
	"errors"
	"net"
	"time"

	"teleport/fault"
)

// Way leads to a resource for as long as a log-in lives.
type Way interface {
	// Dial opens a connection to the resource.
	Dial(ctx context.Context) (net.Conn, error)
	// Check is fault.Unauthenticated when the log-in has ended.
	Check() error
	// Close ends what Dial opened.
	Close()
}

const (
	// lookAgain is how often a new log-in is looked for.
	lookAgain = time.Second
	// waitMost is how long a connection waits for one.
	waitMost = 5 * time.Minute
)

// Lasting dials by the log-in of now. When that has ended, connections wait until
// there is another one, instead of failing. Its Dial is a Dialer. Safe for
// concurrent use.
type Lasting struct {
	open func() (Way, error)
	tell func(error)
	turn chan struct{} // held by whoever looks at way
	way  Way
}

// NewLasting dials by the first way until its log-in has ended, and then by what
// open makes of a newer one; open is fault.Unauthenticated while there is none.
// tell is called once for each log-in that ended.
func NewLasting(first Way, open func() (Way, error), tell func(why error)) *Lasting {
	return &Lasting{open: open, tell: tell, turn: make(chan struct{}, 1), way: first}
}

// Dial opens a connection to the resource. It waits for a log-in, but not for
// ever, and not longer than ctx.
func (l *Lasting) Dial(ctx context.Context) (net.Conn, error) {
	way, err := l.live(ctx)
	if err != nil {
		return nil, err
	}
	return way.Dial(ctx)
}

// live returns a way whose log-in lives. One caller looks for it, the others wait
// for their turn.
func (l *Lasting) live(ctx context.Context) (Way, error) {
	ctx, cancel := context.WithTimeout(ctx, waitMost)
	defer cancel()
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fault.New(fault.Unauthenticated, "your log-in has ended").WithHint("log in again: tsh login")
	}
	defer func() { <-l.turn }()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	why := l.way.Check()
	for told := false; why != nil; {
		next, err := l.open()
		if err == nil {
			l.way = next // what goes over the old one lives on
			return next, nil
		}
		if !errors.Is(err, fault.Unauthenticated) {
			return nil, err
		}
		if !told {
			l.tell(err)
			told = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, why
		}
	}
	return l.way, nil
}

// Close ends what was dialled by the log-in of now.
func (l *Lasting) Close() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.way.Close()
}
