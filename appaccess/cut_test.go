package appaccess_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"teleport/appaccess"
	"teleport/appaccess/apptest"
	"teleport/types"
	"teleport/types/event"
)

// TestWhoWaitsIsToldOfALock: a request that has no answer yet as a lock ends its session
// has one, which says so; nobody may send it again to ask.
func TestWhoWaitsIsToldOfALock(t *testing.T) {
	asked := make(chan bool)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	conn, err := w.Dial(t.Context(), apptest.User("alice", types.AppRoute{}), "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: wiki\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-asked
	lock := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}, Message: "on holiday"}}
	w.Policy.Change(func() { w.Policy.LockList = append(w.Policy.LockList, lock) })
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "on holiday") || !resp.Close || resp.Header.Get(appaccess.HeaderError) != "denied" {
		t.Errorf("%s %v %v: %s", resp.Status, resp.Header, err, text)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	w.Await(func() bool { return len(w.Log.Events(event.TypeAppEnd)) > 0 })
	e, ok := w.Log.Events(event.TypeAppRequest)[0].(*event.AppRequest)
	if !ok || e.Success || !strings.Contains(e.Error, "on holiday") {
		t.Errorf("the log has %+v", e)
	}
}
