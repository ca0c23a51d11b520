package appproxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"teleport/proxy/appproxy"
)

// A page says a thing once, and what to do about it in the case of who reads it.
func TestAPageSaysAThingOnce(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn()
	word, message := "", ""
	w.app = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X-Teleport-App-Error", word)
		rw.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(rw, `{"error":{"code":"`+word+`","message":"`+message+`"}}`)
	})
	const again, resources = `<a class="button" href="">Try again</a>`, `<a class="button" href="https://proxy.test:3080/web/">To your resources</a>`
	for name, k := range map[string]struct{ method, word, message, want string }{
		"down": {"GET", "app_down", "the app wiki cannot be reached",
			`<h1>wiki cannot be reached</h1><p class="why">Its agent is there, and gets no good answer from the app behind it.</p><p>` + again + "</p>"},
		"slow": {"GET", "app_slow", "the app wiki does not answer",
			`<h1>wiki does not answer</h1><p class="why">It was reached, and has not begun to answer in time.</p><p>` + again + "</p>"},
		"strange": {"GET", "app_down", "the app wiki does not answer as an app does",
			`<h1>wiki cannot be reached</h1><p class="why">The app wiki does not answer as an app does.</p><p class="hint">Its agent is there, and gets no good answer from the app behind it.</p><p>` + again + "</p>"},
		"down, with a form": {"POST", "app_down", "the app wiki cannot be reached",
			`<h1>wiki cannot be reached</h1><p class="why">Its agent is there, and gets no good answer from the app behind it.</p><p class="hint">Reload this page, and the browser sends it once more.</p>`},
		"denied": {"POST", "denied", "no role allows it", `<h1>You may not use wiki</h1><p class="why">No role allows it.</p><p>` + resources + "</p>"},
	} {
		word, message = k.word, k.message
		_, page := w.do(c, k.method, wiki+"/x", "", pageHeaders)
		_, page, _ = strings.Cut(page, "<main>")
		page, _, _ = strings.Cut(page, `<p class="id">`)
		if page = strings.ReplaceAll(page, "\n", ""); page != k.want {
			t.Errorf("%s: %s", name, page)
		}
	}
	_, page := w.do(c, "GET", wiki+"/x-teleport-auth/nothing", "", pageHeaders)
	if !strings.Contains(page, "<h1>There is no such page</h1>") || !strings.Contains(page, resources) {
		t.Errorf("nothing there: %s", page)
	}
}

// Somebody whose cookies have grown too large for a request reads so, and which; with a
// page whose own sheet the same browser gets. It is in the log, and reaches no agent.
func TestAHeadThatIsTooLarge(t *testing.T) {
	for proto, major := range map[string]int{"HTTP/1.1": 1, "HTTP/2.0": 2} {
		t.Run(proto, func(t *testing.T) { aHeadThatIsTooLarge(t, proto, major) })
	}
}

func aHeadThatIsTooLarge(t *testing.T, proto string, major int) {
	w := newWorld(t)
	ask := func(path string, cookies int, headers map[string]string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Host, r.ProtoMajor, r.Proto = "wiki.proxy.test:3080", major, proto
		r.Header.Set("Cookie", "theirs="+strings.Repeat("x", cookies))
		for k, v := range headers {
			r.Header.Set(k, v)
		}
		rw := httptest.NewRecorder()
		w.srv.ServeHTTP(rw, r)
		return rw
	}
	rw := ask("/", appproxy.MaxHead, pageHeaders)
	for _, want := range []string{"<h1>Your browser sends too much to wiki</h1>", "33 KiB, and 32 KiB are the most.", "Delete the cookies of wiki.proxy.test in ", rw.Header().Get("X-Request-Id")} {
		if rw.Code != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(rw.Body.String(), want) {
			t.Errorf("%d, without %q: %s", rw.Code, want, rw.Body)
		}
	}
	if len(w.failed) != 1 || w.failed[0].App != "wiki" || w.dials != 0 {
		t.Errorf("told %+v, %d dials", w.failed, w.dials)
	}
	if rw := ask("/", appproxy.MaxHead, map[string]string{"Accept": "application/json"}); rw.Code != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(rw.Body.String(), `"kind":"limit"`) {
		t.Errorf("a program: %d %s", rw.Code, rw.Body)
	}
	if rw := ask("/x-teleport-auth/page.css", appproxy.MaxHead, nil); rw.Code != http.StatusOK {
		t.Errorf("the sheet of the page: %d", rw.Code)
	}
	if rw := ask("/", appproxy.MaxHead/2, pageHeaders); rw.Code != http.StatusFound {
		t.Errorf("half of it: %d", rw.Code)
	}
}

// The pages at an app's address have the colours of the house, whose contrast its own
// tests compute.
func TestColoursOfTheHouse(t *testing.T) {
	sheet, err := os.ReadFile("assets/page.css")
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := os.ReadFile("../../web/src/kit/tokens.ts")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(sheet), "@media (prefers-color-scheme: dark)")
	lightTokens, darkTokens, ok2 := strings.Cut(string(tokens), "export const dark")
	if !ok || !ok2 {
		t.Fatal("there are not two of each")
	}
	for _, c := range []struct{ sheet, tokens string }{{light, lightTokens}, {dark, darkTokens}} {
		names := 0
		for _, m := range regexp.MustCompile(`--([a-z0-9-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(c.sheet, -1) {
			token := regexp.MustCompile(`-(.)`).ReplaceAllStringFunc(m[1], func(s string) string { return strings.ToUpper(s[1:]) })
			if names++; !strings.Contains(c.tokens, "  "+token+": '"+m[2]+"'") {
				t.Errorf("%s is %s, and not what the house has", m[1], m[2])
			}
		}
		if names < 8 {
			t.Errorf("%d colours", names)
		}
	}
}
