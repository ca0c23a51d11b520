package tunnel

import (
	"context"
	"net"
	"time"

	"teleport/tunnel/tunframe"
)

// dataUsable reports whether the agent can be asked for data connections.
func (a *agent) dataUsable() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.data && (len(a.warm) > 0 || time.Now().After(a.noDataTil))
}

func (a *agent) pauseData(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noDataTil = time.Now().Add(d)
}

// takeWarm returns the freshest warm connection, nil when there is none.
func (a *agent) takeWarm() net.Conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.warm)
	if n == 0 {
		return nil
	}
	c := a.warm[n-1]
	a.warm[n-1] = nil
	a.warm = a.warm[:n-1]
	a.reg.warmTotal.Add(-1)
	return c
}

func (a *agent) keepWarm(c net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = max(0, a.asked-1)
	if a.ctx.Err() != nil || a.draining || len(a.warm) > a.reg.o.Warm {
		return false
	}
	a.warm = append(a.warm, c)
	a.reg.warmTotal.Add(1)
	return true
}

func (a *agent) unask() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = max(0, a.asked-1)
}

func (a *agent) dropWarm() {
	a.mu.Lock()
	list := a.warm
	a.warm = nil
	a.mu.Unlock()
	a.reg.warmTotal.Add(-int64(len(list)))
	for _, c := range list {
		c.Close()
	}
}

// sweepSlices spreads the pings of all tunnels over a keepalive period, so that
// ten thousand of them do not wake at once.
const sweepSlices = 16

// sweep pings tunnels, ends dead ones, and lets warm connections and unanswered
// requests expire, until life ends.
func (r *Registry) sweep(life context.Context) {
	tick := time.NewTicker(r.o.Keepalive / sweepSlices)
	defer tick.Stop()
	for turn := 0; ; turn = (turn + 1) % sweepSlices {
		select {
		case <-life.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		for _, a := range r.all() {
			if int(a.since.UnixNano()/1000)%sweepSlices == turn {
				r.tend(a, now)
			}
		}
		r.expirePending(now)
	}
}

// tend looks after one tunnel.
func (r *Registry) tend(a *agent, now time.Time) {
	if now.Sub(a.live.lastHeard()) > r.o.Keepalive*time.Duration(r.o.Misses) {
		a.close("it was silent for too long")
		return
	}
	a.mu.Lock()
	retired := a.draining && a.streams == 0 && now.Sub(a.since) > r.o.Keepalive
	stale := now.Sub(a.lastDial) > r.o.WarmIdle
	a.mu.Unlock()
	if retired {
		a.close("it was draining and is empty")
		return
	}
	if stale {
		a.dropWarm()
	}
	if a.pinging.Swap(true) {
		return
	}
	r.mu.Lock()
	list := r.proxies
	r.mu.Unlock()
	name, body := tunframe.RequestPing, []byte(nil)
	if a.expired(now) {
		name = tunframe.RequestDraining // it must come again with a living certificate
	} else if b, err := tunframe.Marshal(&tunframe.Proxies{V: tunframe.Version, Proxies: list}); err == nil && len(list) > 0 {
		name, body = tunframe.RequestProxies, b // the list is the ping
	}
	r.work.Go(func() {
		defer a.pinging.Store(false)
		if _, _, err := a.conn.SendRequest(name, false, body); err != nil {
			a.close("it cannot be written to")
		}
	})
}

func (r *Registry) expirePending(now time.Time) {
	r.mu.Lock()
	var late []*pendingData
	for id, p := range r.pending {
		if now.After(p.expires) {
			delete(r.pending, id)
			late = append(late, p)
		}
	}
	r.mu.Unlock()
	for _, p := range late {
		r.drop(p)
	}
}
