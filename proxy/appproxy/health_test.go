package appproxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teleport/cert/certtest"
	"teleport/types"
)

const otherHost = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0009"

// at is the app at an agent that finds it so.
func at(agent string, health string) *types.AppServer {
	s := app("wiki", nil)
	s.Spec.HostID, s.Status.TargetHealth.Status = agent, health
	return s
}

// TestAnAppThatIsDownBehindOneAgent: who is at an agent whose app is ill goes on at
// another that reaches it, with the next request, whatever was kept open to the first;
// where all are ill nothing is left out.
func TestAnAppThatIsDownBehindOneAgent(t *testing.T) {
	for name, weight := range map[string]int{"small answers, over one carrier": 1, "large ones, each over its own connection": 400 << 10} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, at(certtest.HostUUID, types.HealthHealthy), at(otherHost, types.HealthHealthy))
				var came [2]atomic.Int64
				text := strings.Repeat("x", weight)
				served := func(i int) http.HandlerFunc {
					return func(rw http.ResponseWriter, _ *http.Request) {
						came[i].Add(1)
						_, _ = io.WriteString(rw, text)
					}
				}
				w.app = served(0)
				w.agent(t.Context(), otherHost, served(1))
				c := w.signedIn()
				work := func(what string, first, other bool) {
					t.Helper()
					came[0].Store(0)
					came[1].Store(0)
					for i := range 12 {
						if resp, body := w.do(c, "GET", fmt.Sprintf("%s/%d", wiki, i), "", nil); resp.StatusCode != http.StatusOK || body != text {
							t.Fatalf("%s: %s, %d bytes", what, resp.Status, len(body))
						}
					}
					if a, b := came[0].Load(), came[1].Load(); (a > 0) != first || (b > 0) != other {
						t.Errorf("%s: %d requests came to the first, %d to the other", what, a, b)
					}
				}
				become := func(goes string, first, other string) {
					w.change(func() {
						w.first = goes // as the router chooses
						w.servers = []*types.AppServer{at(certtest.HostUUID, first), at(otherHost, other)}
					})
					synctest.Wait()
				}
				work("both are well", true, false)
				become(otherHost, types.HealthUnhealthy, types.HealthHealthy)
				work("the first is ill", false, true)
				become(otherHost, types.HealthUnhealthy, types.HealthUnhealthy)
				work("all are ill", false, true)
				become(certtest.HostUUID, types.HealthUnknown, types.HealthUnhealthy)
				work("nothing is known of the first, and the other is ill", true, false)
				become(otherHost, types.HealthUnknown, types.HealthHealthy)
				work("nothing is known of the first: nobody is moved", true, false)
				time.Sleep(time.Second)
			})
		})
	}
}
