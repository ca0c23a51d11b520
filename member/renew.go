package member

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"teleport/fault"
)

// Renewal: when an eighth of the life is over, so that an auth service may be away
// for most of it, and a fortieth of it earlier at random so that hosts that joined
// together spread; after a failure again with growing pauses.
const (
	renewAfter = 8
	spreadOver = 40
	firstPause = 5 * time.Second
	maxPause   = 5 * time.Minute
	// callTimeout bounds one renewal.
	callTimeout = time.Minute
)

// Serve renews the identity until ctx ends, which is no error. It ends earlier
// with fault.Denied when the cluster puts this host out: it is locked, or its
// identity is used by two machines. Other refusals, such as a name that the scope
// of the host's token no longer allows, are tried again: until the identity expires
// the host does its work, and Config.OnRenewal says that somebody should look.
func (m *Member) Serve(ctx context.Context, via Renewer) error {
	if m.held() == nil {
		return fault.New(fault.Internal, "renewal started before there is an identity")
	}
	pause := time.Duration(0)
	for {
		wait := m.untilRenewal()
		if pause > 0 {
			wait = jittered(pause)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-m.wake:
			timer.Stop()
		case <-timer.C:
		}
		err := m.tryRenew(ctx, via)
		if err != nil && ctx.Err() != nil {
			return nil
		}
		m.c.OnRenewal(err)
		if err == nil {
			pause = 0
			continue
		}
		if out := (*refusal)(nil); errors.As(err, &out) {
			return out.error
		}
		pause = min(max(2*pause, firstPause), maxPause)
		m.log.Warn("renewing the identity of this host failed; trying again", "error", err, "expires", m.Identity().Authority.Expires)
	}
}

func (m *Member) tryRenew(ctx context.Context, via Renewer) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := m.renew(ctx, via); err != nil {
		return err
	}
	id := m.Identity()
	m.log.Info("renewed the identity of this host", "generation", id.Generation, "expires", id.Authority.Expires)
	return nil
}

// untilRenewal returns how long the current identity is left alone.
func (m *Member) untilRenewal() time.Duration {
	id := m.Identity()
	life := id.Authority.Expires.Sub(id.IssuedAt)
	at := id.IssuedAt.Add(life / renewAfter)
	if spread := int64(life / spreadOver); spread > 0 {
		at = at.Add(-time.Duration(rand.Int64N(spread)))
	}
	return max(at.Sub(m.now()), 0)
}

// jittered returns between half of d and d.
func jittered(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1))
}
