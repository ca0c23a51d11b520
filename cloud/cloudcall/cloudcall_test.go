package cloudcall

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"teleport/fault"
)

func TestAnswersThatAreNotTheirs(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			fmt.Fprint(w, `{"a":"b"}`)
		case "/elsewhere":
			w.Header().Set("Location", "/good")
			w.WriteHeader(http.StatusTemporaryRedirect)
		case "/denied":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"error":"invalid_client","error_description":"why","access_token":"secret"}`)
		case "/page":
			fmt.Fprint(w, "<html>secret</html>")
		case "/long":
			fmt.Fprint(w, `{"a":"`+strings.Repeat("x", maxAnswer)+`"}`)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	for path, kind := range map[string]fault.Kind{"/good": "", "/elsewhere": fault.Unavailable, "/denied": fault.Denied, "/page": fault.Unavailable,
		"/long": fault.Unavailable, "/broken": fault.Unavailable} {
		for _, c := range []*http.Client{Public(nil), Metadata()} {
			r, err := http.NewRequest(http.MethodGet, s.URL+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			var out struct{ A string }
			_, err = JSON(t.Context(), c, r, "the service", &out)
			if kind == "" && (err != nil || out.A != "b") || kind != "" && !errors.Is(err, kind) {
				t.Errorf("%s: %+v, %v", path, out, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the error tells too much: %v", path, err)
			}
			c.CloseIdleConnections()
		}
	}
}
