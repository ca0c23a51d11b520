package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"teleport/test/cluster"
)

const wikiChecks = `kind: health_check_config
version: v1
metadata: {name: a-wiki}
spec:
  interval: 5s
  timeout: 2s
  healthy_threshold: 1
  match:
    app_labels: [{name: env, values: [test]}]
`

// TestRequestsGoWhereTheAppIs has two agents before one app, of whom one does not
// reach it: nobody notices, in a browser or at tsh proxy app. Where none does, the app
// is tried all the same.
func TestRequestsGoWhereTheAppIs(t *testing.T) {
	t.Parallel()
	to := strings.TrimPrefix(intranet(t), "http://")
	var doors []*door
	front := func(i int) map[string]any {
		doors = append(doors, newDoor(t, cluster.FreePort(t), to))
		doors[i].open(t)
		return map[string]any{"name": "wiki", "uri": "http://" + doors[i].addr, "labels": map[string]string{"env": "test"}}
	}
	c := withApps(t, 0, front(0))
	c.TctlIn(wikiChecks, "create").OK(t)
	agents := []*cluster.Process{c.Agents[0], addAppAgent(t, c, "app-2", front(1))}
	health := func(agent *cluster.Process) string {
		var docs []struct {
			Status struct {
				Health struct{ Status string } `json:"target_health"`
			}
		}
		out := c.Tctl("get", "app_server/wiki."+agent.UUID(t), "--format=json").Stdout
		if json.Unmarshal([]byte(out), &docs) != nil || len(docs) != 1 {
			return ""
		}
		return docs[0].Status.Health.Status
	}
	become := func(first, second string) {
		t.Helper()
		cluster.Until(t, within, "the agents to notice", func() bool { return health(agents[0]) == first && health(agents[1]) == second })
	}
	become("healthy", "healthy")
	alice := c.User(t, "alice", []string{"access"}, nil)
	alice.Login(t)
	cluster.Until(t, within, "the app in tsh apps ls", func() bool { return strings.Contains(alice.Tsh("apps", "ls").Stdout, "wiki") })
	b := newBrowsing(t, c)
	b.signIn(alice)
	b.open(b.url("wiki", "/"))
	port := cluster.FreePort(t)
	alice.StartTsh(t, "proxy", "app", "wiki", "--port="+port).WaitFor(t, "127.0.0.1:"+port)
	asked := map[string]func() (status int, said string){
		"a browser": func() (int, string) {
			resp, text := b.do("GET", b.url("wiki", "/page"), nil, "Accept", "application/json")
			return resp.StatusCode, text
		},
		"tsh proxy app": func() (int, string) {
			resp, err := http.Get("http://127.0.0.1:" + port + "/page")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(text)
		},
	}
	served := func(when string) { // an agent that does not reach the app would say so
		t.Helper()
		for who, ask := range asked {
			cluster.Until(t, within, who+" to hear of it", func() bool { status, _ := ask(); return status == http.StatusOK })
			for range 12 {
				if status, text := ask(); status != http.StatusOK {
					t.Errorf("%s, %s: %d %s", when, who, status, text)
				}
			}
		}
	}
	served("both are well")
	for up, states := range [][2]string{{"healthy", "unhealthy"}, {"unhealthy", "healthy"}} {
		doors[1-up].shut()
		if up == 1 {
			doors[up].open(t)
		}
		become(states[0], states[1])
		served("one is ill")
	}
	doors[1].shut()
	become("unhealthy", "unhealthy")
	for who, ask := range asked {
		if status, text := ask(); status < 500 || !strings.Contains(text, "the app wiki cannot be reached") { // so an agent has tried
			t.Errorf("all are ill, %s: %d %s", who, status, text)
		}
	}
	for i := range doors {
		doors[i].open(t)
	}
	for who, ask := range asked { // before any agent has looked again, or soon after
		if status, text := ask(); status != http.StatusOK {
			t.Errorf("all were ill, %s: %d %s", who, status, text)
		}
	}
	become("healthy", "healthy")
	served("both are well again")
}
