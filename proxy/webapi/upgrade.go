package webapi

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"teleport/fault"
)

// Sub-protocols of the connection upgrade; the ping variant has the server send
// WebSocket pings, so that an idle stream outlives the balancer's timeout.
const (
	protocolALPN     = "alpn"
	protocolALPNPing = "alpn-ping"
	upgradePing      = 30 * time.Second
)

func acceptUpgrade(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:    []string{protocolALPNPing, protocolALPN},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "this is not a connection upgrade")
	}
	if ws.Subprotocol() == "" {
		ws.Close(websocket.StatusPolicyViolation, "offer the sub-protocol alpn or alpn-ping")
		return nil, fault.New(fault.Invalid, "the upgrade offers neither alpn nor alpn-ping")
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	u := &upgraded{Conn: websocket.NetConn(ctx, ws, websocket.MessageBinary), cancel: cancel}
	if ws.Subprotocol() == protocolALPNPing {
		u.pings.Go(func() { keepAlive(ctx, ws) })
	}
	return u, nil
}

// keepAlive pings until the connection ends; a ping without its pong ends it.
func keepAlive(ctx context.Context, ws *websocket.Conn) {
	t := time.NewTicker(upgradePing)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		wait, cancel := context.WithTimeout(ctx, upgradePing)
		err := ws.Ping(wait)
		cancel()
		if err != nil {
			ws.CloseNow()
			return
		}
	}
}

// upgraded ends its pings with the connection.
type upgraded struct {
	net.Conn
	cancel context.CancelFunc
	pings  sync.WaitGroup
}

func (u *upgraded) Close() error {
	err := u.Conn.Close()
	u.cancel()
	u.pings.Wait()
	return err
}

// closing tells when a connection was closed.
type closing struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closing) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}
