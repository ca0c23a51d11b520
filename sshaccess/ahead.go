package sshaccess

import "sync"

// aheadMost bounds what is read while nobody may see it yet.
const aheadMost = 256 << 10

// ahead reads output while what came before it waits for the auth service, so
// that all that came meanwhile goes with the next call: a call for each read would
// make a synchronous recording as slow as the way to auth is long. It adds no
// delay, as what is there is handed out at once. Make it with newAhead.
type ahead struct {
	mu      sync.Mutex
	changed *sync.Cond
	came    []byte
	err     error // what ended the reading
	over    bool  // nobody wants more
}

func newAhead() *ahead {
	a := &ahead{}
	a.changed = sync.NewCond(&a.mu)
	return a
}

// fill reads until there is an error, or stop was called.
func (a *ahead) fill(read func() ([]byte, error)) {
	for a.put(read()) {
	}
}

// put waits for room, and reports whether more is wanted.
func (a *ahead) put(p []byte, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.came) >= aheadMost && !a.over {
		a.changed.Wait()
	}
	if a.over {
		return false
	}
	a.came, a.err = append(a.came, p...), err
	a.changed.Broadcast()
	return err == nil
}

// next waits for output and returns all that has come; the slice is the caller's.
func (a *ahead) next() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.came) == 0 && a.err == nil {
		a.changed.Wait()
	}
	p := a.came
	a.came = nil
	a.changed.Broadcast()
	if len(p) > 0 {
		return p, nil
	}
	return nil, a.err
}

// stop ends the reading at its next byte.
func (a *ahead) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over, a.came = true, nil
	a.changed.Broadcast()
}
