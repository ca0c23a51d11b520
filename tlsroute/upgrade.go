package tlsroute

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"teleport/netx"
	"teleport/netx/alpndial"
)

// Upgrade answers a client's WebSocket upgrade (alpndial.UpgradePath) and hands
// the stream in, as if it had come to the port directly: what runs inside
// authenticates itself, so the route needs no permission of its own. client is
// the client's address as the caller has verified it. ping is how often an idle
// stream of the alpn-ping kind is pinged; zero means 30 s. It returns when the
// stream has been handed in.
func (r *Router) Upgrade(w http.ResponseWriter, req *http.Request, client net.Addr, ping time.Duration) error {
	c, err := websocket.Accept(w, req, &websocket.AcceptOptions{
		Subprotocols:    []string{alpndial.ProtocolPing, alpndial.ProtocolPlain},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return err // Accept has answered
	}
	if c.Subprotocol() == "" {
		return c.Close(websocket.StatusPolicyViolation, "unknown sub-protocol")
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(req.Context()))
	stream := &upgraded{Conn: websocket.NetConn(ctx, c, websocket.MessageBinary), end: cancel}
	if c.Subprotocol() == alpndial.ProtocolPing {
		if ping <= 0 {
			ping = 30 * time.Second
		}
		go keepAlive(ctx, c, ping) // owned by the stream: its Close ends it
	}
	return r.Inject(netx.WithRemoteAddr(stream, client))
}

// keepAlive pings until the stream ends. A ping that is not answered within
// three periods ends it.
func keepAlive(ctx context.Context, c *websocket.Conn, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wait, cancel := context.WithTimeout(ctx, 3*every)
		err := c.Ping(wait)
		cancel()
		if err != nil {
			c.CloseNow()
			return
		}
	}
}

// upgraded stops the pings when the stream is closed.
type upgraded struct {
	net.Conn
	end  context.CancelFunc
	once sync.Once
}

// UpgradedAddr is the local address of a stream that came inside of a WebSocket.
// Nothing between the client and this process has read what flows in it: a
// header in there that a balancer would have set is the client's own.
type UpgradedAddr struct{ net.Addr }

// LocalAddr implements net.Conn.
func (u *upgraded) LocalAddr() net.Addr { return UpgradedAddr{u.Conn.LocalAddr()} }

func (u *upgraded) Close() error {
	var err error
	u.once.Do(func() {
		err = u.Conn.Close()
		u.end()
	})
	return err
}
