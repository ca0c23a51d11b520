package localproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"

	"teleport/dbaccess/dynamodb/dynamowire"
	"teleport/fault"
)

// tunnel serves a Signed in front of an agent that the test plays.
func tunnel(t *testing.T, agent http.HandlerFunc) (addr string, keys Keys) {
	t.Helper()
	a := httptest.NewServer(agent)
	t.Cleanup(a.Close)
	ln, err := Listen(t.Context(), "0")
	if err != nil {
		t.Fatal(err)
	}
	keys = NewKeys()
	s := NewSigned(keys, Options{Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", a.Listener.Addr().String())
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String(), keys
}

func sdk(addr string, keys Keys) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: "eu-west-1", BaseEndpoint: aws.String("http://" + addr), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(keys.ID, keys.Secret, "")})
}

func TestRequestsOfOurKeysGoThrough(t *testing.T) {
	var got atomic.Pointer[http.Request]
	addr, keys := tunnel(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), `"Limit":3`) || r.RequestURI != "/" {
			t.Errorf("%s: %s, %v", r.RequestURI, body, err)
		}
		got.Store(r)
		w.Header().Set("X-Amzn-Requestid", "r7")
		fmt.Fprint(w, `{"TableNames":["orders"]}`)
	})
	for range 3 {
		out, err := sdk(addr, keys).ListTables(t.Context(), &dynamodb.ListTablesInput{Limit: aws.Int32(3)})
		if err != nil || len(out.TableNames) != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if h := got.Load().Header; h.Get("X-Amz-Target") == "" || h.Get("Authorization") == "" {
		t.Errorf("the agent had %v", h)
	}
}

func TestStrangersGetNothing(t *testing.T) {
	var through atomic.Int32
	addr, keys := tunnel(t, func(http.ResponseWriter, *http.Request) { through.Add(1) })
	for name, k := range map[string]Keys{"another secret": {keys.ID, NewKeys().Secret}, "other keys": NewKeys()} {
		_, err := sdk(addr, k).ListTables(t.Context(), &dynamodb.ListTablesInput{})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, edit := range map[string]func(*http.Request){
		"unsigned": func(*http.Request) {},
		"a page": func(r *http.Request) {
			r.Header.Set("Origin", "https://evil.test")
			r.Header.Set("Content-Type", "text/plain")
		},
		"long": func(r *http.Request) { r.Header.Set("Authorization", strings.Repeat("x", 8<<10)) },
	} {
		r, err := http.NewRequest(http.MethodPost, "http://"+addr+"/", bytes.NewReader([]byte("{}")))
		if err != nil {
			t.Fatal(err)
		}
		edit(r)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "AccessDenied") || err != nil {
			t.Errorf("%s: %d %s, %v", name, resp.StatusCode, body, err)
		}
	}
	if n := through.Load(); n != 0 {
		t.Errorf("%d requests went through", n)
	}
}

func TestNoWayToTheDatabase(t *testing.T) {
	ln, err := Listen(t.Context(), "0")
	if err != nil {
		t.Fatal(err)
	}
	keys, told := NewKeys(), make(chan error, 1)
	s := NewSigned(keys, Options{Failed: func(err error) { told <- err }, Dial: func(context.Context) (net.Conn, error) {
		return nil, fault.New(fault.Denied, "access denied: locked")
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	_, err = sdk(ln.Addr().String(), keys).ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err == nil || !strings.Contains(err.Error(), "AccessDeniedException: access denied: locked") {
		t.Errorf("the client hears %v", err)
	}
	if !errors.Is(<-told, fault.Denied) {
		t.Error("tsh does not hear of it")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, _, body := dynamowire.Error(errors.New("secret detail")); strings.Contains(string(body), "secret") {
		t.Error("an unclassified error is told")
	}
}
