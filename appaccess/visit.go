package appaccess

import (
	"crypto/x509"
	"sync"
	"time"

	"teleport/access"
	"teleport/dial"
	"teleport/types"
)

// visit is one connection of a session. What a decision is made from is its own.
type visit struct {
	in       *dial.Inbound
	shown    *x509.Certificate
	identity *types.Identity
	app      *types.App
	route    types.AppRoute
	spoken   string // what the client speaks: an ALPN name
	session  *Session
	decision access.Decision
	start    time.Time
	why      reason // of an end from outside
	cut      func(error)
	// elsewhere has further connections of the client find an agent anew; nil where each
	// does anyway.
	elsewhere func()

	mu       sync.Mutex
	over     bool           // no further request begins
	requests sync.WaitGroup // under way: several of HTTP/2, each on a goroutine of the server's
	waits    *exchange      // the one under way that can be told why it ends; nil: none can
}

// begin counts a request that is under way until it calls requests.Done; false: it is too late.
func (v *visit) begin() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.over {
		v.requests.Add(1)
	}
	return !v.over
}

// lastWords is how long a request that is cut has to tell its client why.
const lastWords = 400 * time.Millisecond

// await has a request be told of a cut that comes, or has come; until answered.
func (v *visit) await(x *exchange) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waits = x
	return v.why.get()
}

func (v *visit) answered() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waits = nil
}

// end has a request that is under way end with a reason, and reports whether it can tell.
func (v *visit) end(why error) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.why.set(why)
	v.over = true
	if v.waits != nil {
		v.waits.cut(why)
	}
	return v.waits != nil
}

// finish waits for the requests of a connection that has ended: what they tell belongs
// to the session.
func (v *visit) finish() {
	v.mu.Lock()
	v.over = true
	v.mu.Unlock()
	v.requests.Wait()
}

// unreached says that this agent does not reach the app: another one may.
func (v *visit) unreached() {
	if v.elsewhere != nil {
		v.elsewhere()
	}
}
