package appaccess_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/appaccess"
	"teleport/appaccess/apptest"
	"teleport/netx/memnet"
	"teleport/types"
	"teleport/types/event"
)

// dripping is a body that comes in pieces of one byte.
type dripping struct {
	left   int
	pause  time.Duration
	closed chan struct{}
	once   sync.Once
}

func (d *dripping) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(d.pause):
	case <-d.closed:
		return 0, net.ErrClosed
	}
	d.left--
	return copy(p, "x"), nil
}

func (d *dripping) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// TestSlowBodies: the body of a request may take hours, and pause for less than two
// minutes. A longer pause ends it with an answer of the agent's own, which says that it
// was not the app; the log has it, and the app does not take what came for the whole.
func TestSlowBodies(t *testing.T) {
	for _, c := range []struct {
		name   string
		pause  time.Duration
		status int
	}{{"hours", 110 * time.Second, http.StatusOK}, {"a long pause", 3 * time.Minute, http.StatusRequestTimeout}} {
		for proto, client := range map[string]func(*apptest.World, *types.Identity) *http.Client{"HTTP/1.1": (*apptest.World).Client, "HTTP/2.0": (*apptest.World).Client2} {
			t.Run(proto+", "+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { slowBody(t, c.pause, c.status, client) })
			})
		}
	}
}

func slowBody(t *testing.T, pause time.Duration, status int, client func(*apptest.World, *types.Identity) *http.Client) {
	var network memnet.Network
	ln, err := network.Listen(t.Context(), "tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	const pieces = 100
	whole := make(chan error, 1)
	app := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err == nil && !bytes.Equal(got, bytes.Repeat([]byte("x"), pieces)) {
			err = errors.New("another body")
		}
		whole <- err
	})}
	served := make(chan error, 1)
	go func() { served <- app.Serve(ln) }()
	defer func() {
		app.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	w := apptest.New(t, types.AppSpec{URI: "http://127.0.0.1:8080"}, func(c *appaccess.Config) { c.Dialer = &network })
	w.InMemory()
	id := apptest.User("alice", types.AppRoute{})
	id.Authority.Expires = time.Now().Add(12 * time.Hour)
	body := &dripping{left: pieces, pause: pause, closed: make(chan struct{})}
	defer body.Close()
	began := time.Now()
	resp, err := client(w, id).Post("https://wiki.example.test/upload", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Errorf("%s: %s %v", resp.Status, text, err)
	}
	if err := <-whole; (err == nil) != (status == http.StatusOK) {
		t.Errorf("the app read a body, and then %v", err)
	}
	e, ok := w.Log.Events(event.TypeAppRequest)[0].(*event.AppRequest)
	if !ok || e.StatusCode != status || e.Success != (status == http.StatusOK) {
		t.Errorf("the log has %+v", e)
	}
	if status == http.StatusOK {
		return
	}
	if took := time.Since(began); took < 2*time.Minute || took > pause {
		t.Errorf("after %s", took)
	}
	const said = "nothing more of the request's body has come for 2m0s"
	if resp.Header.Get(appaccess.HeaderError) != "slow_body" || !strings.Contains(string(text), said) || !strings.Contains(e.Error, said) || e.Code != event.CodeAppRequestFail {
		t.Errorf("%v %s, and the log has %+v", resp.Header, text, e)
	}
}

// TestABodyThatBreaksOff is its client's doing: nothing is said against the app, and no
// other agent is looked for.
func TestABodyThatBreaksOff(t *testing.T) {
	for name, body := range map[string]string{"with a length": "Content-Length: 10\r\n\r\nabc", "in chunks": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
		t.Run(name, func(t *testing.T) {
			w := apptest.New(t, types.AppSpec{URI: "http://127.0.0.1:8080"}, func(c *appaccess.Config) { c.Dialer = swallows{} })
			conn, err := w.Dial(t.Context(), apptest.User("alice", types.AppRoute{}), "http/1.1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "POST /upload HTTP/1.1\r\nHost: wiki\r\n"+body); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			w.Await(func() bool { return len(w.Log.Events(event.TypeAppRequest)) > 0 })
			e, ok := w.Log.Events(event.TypeAppRequest)[0].(*event.AppRequest)
			if !ok || !strings.Contains(e.Error, "the client went away") || e.Code != event.CodeAppRequestFail {
				t.Errorf("the log has %+v", e)
			}
		})
	}
}

// swallows dials apps that read whatever comes, and say nothing.
type swallows struct{}

func (swallows) DialContext(context.Context, string, string) (net.Conn, error) {
	near, far := memnet.Pipe()
	go func() { // ends with the connection
		_, _ = io.Copy(io.Discard, far)
		far.Close()
	}()
	return near, nil
}

// TestADrainWaitsForWhatIsOnItsWay: a request that was sent as the agent began to leave is
// answered, also where nobody may send it twice; then what waits is closed.
func TestADrainWaitsForWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln, err := network.Listen(t.Context(), "tcp", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		app := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Method) })}
		served := make(chan error, 1)
		go func() { served <- app.Serve(ln) }()
		defer func() { app.Close(); <-served }()
		w := apptest.New(t, types.AppSpec{URI: "http://127.0.0.1:8080"}, func(c *appaccess.Config) { c.Dialer = &network })
		w.InMemory()
		conn, err := w.Dial(t.Context(), apptest.User("alice", types.AppRoute{}), "http/1.1")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		br := bufio.NewReader(conn)
		for _, method := range []string{"GET", "POST"} {
			if _, err := io.WriteString(conn, method+" / HTTP/1.1\r\nHost: wiki\r\nContent-Length: 0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(method, err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != method {
				t.Errorf("%s: %s %q %v", method, resp.Status, body, err)
			}
			w.Drain()
			synctest.Wait()
		}
		if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("a connection that waits stays open: %v", err)
		}
	})
}
