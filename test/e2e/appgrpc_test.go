package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"teleport/test/cluster"
)

type text = wrapperspb.StringValue

// echoes is a gRPC server without TLS. left is told why a stream ended whose client
// did not say that it has said all.
func echoes(t *testing.T, left chan<- error) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/e2e.Echo/One", connect.NewUnaryHandler("/e2e.Echo/One", func(_ context.Context, r *connect.Request[text]) (*connect.Response[text], error) {
		if r.Msg.Value == "fail" {
			err := connect.NewError(connect.CodeFailedPrecondition, errors.New("as you wish"))
			err.Meta().Set("X-Own-Trailer", "told")
			return nil, err
		}
		out := connect.NewResponse(wrapperspb.String(r.Msg.Value + " for " + r.Header().Get("X-Team")))
		out.Trailer().Set("X-Own-Trailer", "kept")
		return out, nil
	}))
	mux.Handle("/e2e.Echo/Talk", connect.NewBidiStreamHandler("/e2e.Echo/Talk", func(_ context.Context, s *connect.BidiStream[text, text]) error {
		for {
			m, err := s.Receive()
			if errors.Is(err, io.EOF) { // the client has said all
				return nil
			}
			if err != nil {
				left <- err
				return err
			}
			if err := s.Send(wrapperspb.String("heard " + m.Value)); err != nil {
				return err
			}
		}
	}))
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.Protocols.SetHTTP1(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// TestGRPCThroughTshProxyApp: a client of gRPC without TLS at the local port reaches a
// server of gRPC: calls with trailers and errors, streams both ways, and a cancel.
func TestGRPCThroughTshProxyApp(t *testing.T) {
	t.Parallel()
	left := make(chan error, 1)
	server := echoes(t, left)
	c := cluster.New(t, cluster.Opts{})
	addAppAgent(t, c, "app-1", map[string]any{"name": "echo", "uri": server.URL, "rewrite": map[string]any{"headers": []any{"X-Team: shop"}}})
	alice := c.User(t, "alice", []string{"access"}, nil)
	alice.Login(t)
	cluster.Until(t, within, "the app in tsh apps ls", func() bool { return strings.Contains(alice.Tsh("apps", "ls").Stdout, "echo") })
	port := cluster.FreePort(t)
	live := alice.StartTsh(t, "proxy", "app", "echo", "--port="+port)
	live.WaitFor(t, "127.0.0.1:"+port)
	own := &http.Transport{Protocols: &http.Protocols{}}
	own.Protocols.SetUnencryptedHTTP2(true)
	defer own.CloseIdleConnections()
	at, client := "http://"+net.JoinHostPort("127.0.0.1", port), &http.Client{Transport: own}

	one := connect.NewClient[text, text](client, at+"/e2e.Echo/One", connect.WithGRPC())
	out, err := one.CallUnary(t.Context(), connect.NewRequest(wrapperspb.String("hello")))
	if err != nil || out.Msg.Value != "hello for shop" || out.Trailer().Get("X-Own-Trailer") != "kept" {
		t.Fatalf("%v %v", out, err)
	}
	_, err = one.CallUnary(t.Context(), connect.NewRequest(wrapperspb.String("fail")))
	if why := (*connect.Error)(nil); !errors.As(err, &why) || why.Code() != connect.CodeFailedPrecondition || why.Meta().Get("X-Own-Trailer") != "told" {
		t.Errorf("an error arrives as %v", err)
	}

	talk := connect.NewClient[text, text](client, at+"/e2e.Echo/Talk", connect.WithGRPC())
	stream := talk.CallBidiStream(t.Context())
	for _, word := range []string{"a", "b", strings.Repeat("c", 1<<20)} { // each is answered before the next is said
		if err := stream.Send(wrapperspb.String(word)); err != nil {
			t.Fatal(err)
		}
		if m, err := stream.Receive(); err != nil || m.Value != "heard "+word {
			t.Fatalf("%.20q is answered by %v, %v", word, m, err)
		}
	}
	if err := stream.CloseRequest(); err != nil {
		t.Error(err)
	}
	if m, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after all was said: %v, %v", m, err)
	}
	if err := stream.CloseResponse(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-left:
		t.Errorf("a stream that ended well is left with %v", err)
	default:
	}
	ctx, cancel := context.WithCancel(t.Context())
	stream = talk.CallBidiStream(ctx)
	if err := stream.Send(wrapperspb.String("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); err != nil {
		t.Fatal(err)
	}
	cancel()
	stream.CloseResponse() //nolint:errcheck // it says that the stream was cancelled; net/http's client tells the server only now
	select {
	case err := <-left:
		if connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("a cancel is heard as %v", err)
		}
	case <-time.After(within):
		t.Error("the server does not hear of a cancel")
	}

	curl := alice.Run(cluster.Command{Path: cluster.Need(t, "curl", "curl"), Args: []string{"-sS", "--max-time", "60", "--http2-prior-knowledge", "-o", "/dev/null",
		"-w", "%{http_version} %{http_code}", at + "/nothing"}})
	contains(t, curl.OK(t), "2 404")
	requests := c.Events(t, 5, "app.session.request", "alice")
	if e := requests[0]; e["method"] != "POST" || e["status_code"] != float64(200) || e["path"] != "/e2e.Echo/One" {
		t.Errorf("the log has %v", e)
	}
}
