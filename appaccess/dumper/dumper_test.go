package dumper_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"teleport/appaccess"
	"teleport/appaccess/apptest"
	"teleport/appaccess/dumper"
	"teleport/types"
)

type nowhere struct{}

func (nowhere) DialContext(_ context.Context, _, addr string) (net.Conn, error) {
	return nil, errors.New("no way to " + addr)
}

// TestDumper: what an app would hear is shown, without what would let somebody else
// pass for the user.
func TestDumper(t *testing.T) {
	d := dumper.New(nowhere{}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx) }()
	w := apptest.New(t, types.DebugApp().Spec, func(c *appaccess.Config) { c.Dialer = d })
	client := w.Client(apptest.User("alice", types.AppRoute{}))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://wiki.example.test/some?thing=1", strings.NewReader("<b>"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Own", "<script>1</script>")
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	said := string(page)
	for _, want := range []string{"POST /some?thing=1 HTTP/1.1\nHost: dumper.invalid\n", "X-Own: <script>1</script>\n", "X-Forwarded-For: 127.0.0.1\n", "X-Forwarded-Proto: https\n",
		"Teleport-Jwt-Assertion: ey", ".(the signature is not shown)\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not show %q: %s", want, said)
		}
	}
	if h := resp.Header; h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a browser may take it for %v", h)
	}
	for line := range strings.Lines(said) {
		if token, ok := strings.CutPrefix(line, "Teleport-Jwt-Assertion: "); ok && strings.Count(strings.TrimSpace(token), ".") != 2 {
			t.Errorf("the token is %s", token)
		}
	}
	if _, err := d.DialContext(t.Context(), "tcp", "other.example.com:80"); err == nil || err.Error() != "no way to other.example.com:80" {
		t.Errorf("another app: %v", err)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := d.DialContext(context.Background(), "tcp", types.DebugAppAddr); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after its end: %v", err)
	}
}
