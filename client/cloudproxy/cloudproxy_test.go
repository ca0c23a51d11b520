package cloudproxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"teleport/client/localproxy"
	"teleport/cloudhost"
	"teleport/sigv4wire"
)

// seen is a request as an agent got it.
type seen struct {
	*http.Request
	body []byte
}

// world is a local proxy before an agent that the test plays.
type world struct {
	proxy     *url.URL
	authority *Authority
	client    *http.Transport
	mu        sync.Mutex
	got       []seen
	answer    http.HandlerFunc // nil says 200
}

func serve(t *testing.T, cloud Cloud, domains []string) *world {
	t.Helper()
	w := &world{}
	agent := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.mu.Lock()
		if err == nil {
			w.got = append(w.got, seen{r, body})
		}
		answer := w.answer
		w.mu.Unlock()
		if answer != nil {
			answer(rw, r)
		}
	}))
	t.Cleanup(agent.Close)
	authority, err := NewAuthority(domains)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := localproxy.Listen(t.Context(), "0")
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{Cloud: cloud, Authority: authority, Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", agent.Listener.Addr().String())
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, ln) }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM())
	w.proxy, w.authority = &url.URL{Scheme: "http", Host: ln.Addr().String()}, authority
	w.client = &http.Transport{Proxy: http.ProxyURL(w.proxy), TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// requests returns what the agent got, and forgets it.
func (w *world) requests() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.got
	w.got = nil
	return out
}

func (w *world) s3(keys localproxy.Keys, change ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{Region: "eu-west-1", HTTPClient: &http.Client{Transport: w.client}, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(keys.ID, keys.Secret, "")}, change...)
}

// do sends a request as a tool does.
func (w *world) do(t *testing.T, method, target, body string, header map[string]string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := w.client.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestAnSDKGoesThrough(t *testing.T) {
	keys := localproxy.NewKeys()
	w := serve(t, AWS{keys}, AWSDomains)
	long := bytes.Repeat([]byte("0123456789abcdef"), 60000)
	for name, change := range map[string]func(*s3.Options){
		"as it is":   func(*s3.Options) {},
		"a checksum": func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported },
		"path style": func(o *s3.Options) { o.UsePathStyle = true },
	} {
		if _, err := w.s3(keys, change).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("a b+c"), Body: bytes.NewReader(long)}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := w.requests()
		if len(got) != 1 || !strings.HasSuffix(got[0].Host, "s3.eu-west-1.amazonaws.com") || !strings.HasSuffix(got[0].URL.EscapedPath(), "/a%20b%2Bc") || !bytes.Contains(got[0].body, long[:1000]) ||
			int64(len(got[0].body)) != got[0].ContentLength {
			t.Errorf("%s: the agent got %+v", name, got)
		}
	}
	if _, err := sts.New(sts.Options{Region: "eu-west-1", HTTPClient: &http.Client{Transport: w.client}, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(keys.ID, keys.Secret, "")}).GetCallerIdentity(t.Context(), nil); err == nil || strings.Contains(err.Error(), "AccessDenied") {
		t.Logf("an empty answer is no identity: %v", err)
	}
	if got := w.requests(); len(got) != 1 || string(got[0].body) != "Action=GetCallerIdentity&Version=2011-06-15" {
		t.Errorf("the agent got %+v", got)
	}
}

// TestAStolenPort is another program of the machine that found the port: without the
// keys it gets nothing, however it asks.
func TestAStolenPort(t *testing.T) {
	keys := localproxy.NewKeys()
	w := serve(t, AWS{keys}, AWSDomains)
	for name, other := range map[string]localproxy.Keys{"other keys": localproxy.NewKeys(), "another secret": {ID: keys.ID, Secret: "x"}} {
		for form, change := range map[string]func(*s3.Options){"": func(*s3.Options) {}, "hashed": func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired }} {
			_, err := w.s3(other, change).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), Body: strings.NewReader("v")})
			if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
				t.Errorf("%s %s: %v", name, form, err)
			}
		}
	}
	signed, err := s3.NewPresignClient(w.s3(keys)).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"no signature": "https://demo.s3.eu-west-1.amazonaws.com/k", "a signed URL": signed.URL} {
		if status, body := w.do(t, http.MethodGet, target, "", nil); status != http.StatusForbidden || !strings.Contains(body, "AccessDenied") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if got := w.requests(); len(got) != 0 {
		t.Errorf("the agent got %+v", got)
	}
	// A host that is no API's within a tunnel to one that is.
	c := w.tunnel(t, "s3.eu-west-1.amazonaws.com:443", "s3.eu-west-1.amazonaws.com")
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer := string(readAll(t, c)); !strings.Contains(answer, "403") {
		t.Errorf("another host: %s", answer)
	}
	resp, err := http.Get(w.proxy.String() + "/latest/meta-data/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("without CONNECT: %d", resp.StatusCode)
	}
}

func readAll(t *testing.T, c net.Conn) []byte {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tunnel opens one through the proxy, and TLS within.
func (w *world) tunnel(t *testing.T, addr, name string) *tls.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.proxy.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, "CONNECT "+addr+" HTTP/1.1\r\nHost: "+addr+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\n"))
	if _, err := io.ReadFull(c, answer); err != nil {
		t.Fatal(err)
	}
	config := w.client.TLSClientConfig.Clone()
	config.ServerName = name
	return tls.Client(c, config)
}

// TestOtherHostsPassUntouched is a server whose own certificate the tool sees.
func TestOtherHostsPassUntouched(t *testing.T) {
	w := serve(t, AWS{localproxy.NewKeys()}, AWSDomains)
	other := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "own") }))
	t.Cleanup(other.Close)
	own := other.Client().Transport.(*http.Transport).Clone()
	own.Proxy = http.ProxyURL(w.proxy)
	t.Cleanup(own.CloseIdleConnections)
	resp, err := (&http.Client{Transport: own}).Get(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "own" || !resp.TLS.PeerCertificates[0].Equal(other.Certificate()) {
		t.Errorf("got %q, %v", text, err)
	}
	if got := w.requests(); len(got) != 0 {
		t.Errorf("the agent got %+v", got)
	}
}

// TestAChecksumBehindABodyOfUnsaidLength is how the aws command sends one: it signs the
// framing of the connection, too.
func TestAChecksumBehindABodyOfUnsaidLength(t *testing.T) {
	keys := localproxy.NewKeys()
	w := serve(t, AWS{keys}, AWSDomains)
	const body = "3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n"
	for name, length := range map[string]string{"said within": "3", "not said": ""} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://demo.s3.eu-west-1.amazonaws.com/k", io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Content-Sha256", sigv4wire.UnsignedTrailer)
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		if length != "" {
			r.Header.Set("X-Amz-Decoded-Content-Length", length)
		}
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: keys.ID, SecretAccessKey: keys.Secret}, r, sigv4wire.UnsignedTrailer, "s3", "eu-west-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		resp, err := w.client.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got := w.requests()
		if good := length != ""; (resp.StatusCode == http.StatusOK) != good || (len(got) == 1 && string(got[0].body) == body) != good {
			t.Errorf("%s: %d, the agent got %+v", name, resp.StatusCode, got)
		}
	}
}

// TestABodyThatIsCutShort never looks whole to the agent.
func TestABodyThatIsCutShort(t *testing.T) {
	keys := localproxy.NewKeys()
	w := serve(t, AWS{keys}, AWSDomains)
	_, err := w.s3(keys, func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired }).PutObject(t.Context(),
		&s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), ContentLength: aws.Int64(1 << 20), Body: io.MultiReader(strings.NewReader("short"))})
	if err == nil {
		t.Error("it was taken")
	}
	if got := w.requests(); len(got) != 0 {
		t.Errorf("the agent got %d bytes", len(got[0].body))
	}
}

// TestTheAuthorityIsNarrow wants its certificates to be worth nothing for a host of
// others, and the bundle to hold what the machine trusts too.
func TestTheAuthorityIsNarrow(t *testing.T) {
	a, err := NewAuthority(AWSDomains)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.PEM())
	for host, good := range map[string]bool{"s3.eu-west-1.amazonaws.com": true, "example.com": false, "xamazonaws.com": false} {
		c, err := a.Certificate(host)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); (err == nil) != good {
			t.Errorf("%s: %v", host, err)
		}
	}
	file := filepath.Join(t.TempDir(), "own.pem")
	if err := os.WriteFile(file, []byte("OWN"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := a.Bundle(file); err != nil || !bytes.HasPrefix(b, a.PEM()) || !bytes.HasSuffix(b, []byte("OWN")) {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := a.Bundle(file + "x"); err == nil {
		t.Errorf("no such file: %v", err)
	}
}

func TestGoogle(t *testing.T) {
	g := Google{Secret: NewSecret()}
	w := serve(t, g, GoogleDomains)
	const api = "https://storage.googleapis.com/storage/v1/b?project=p"
	if status, _ := w.do(t, http.MethodGet, api, "", map[string]string{"Authorization": "Bearer " + g.Secret}); status != http.StatusOK {
		t.Errorf("with the token: %d", status)
	}
	if got := w.requests(); len(got) != 1 || got[0].Host != "storage.googleapis.com" || got[0].RequestURI != "/storage/v1/b?project=p" || got[0].Header.Get("Authorization") != "" {
		t.Errorf("the agent got %+v", got)
	}
	for name, header := range map[string]string{"none": "", "another": "Bearer " + NewSecret(), "not a bearer": "Basic " + g.Secret} {
		if status, body := w.do(t, http.MethodGet, api, "", map[string]string{"Authorization": header}); status != http.StatusForbidden || !strings.Contains(body, "UNAUTHENTICATED") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	const exchange, form = "https://sts.googleapis.com/v1/token", "application/x-www-form-urlencoded"
	status, body := w.do(t, http.MethodPost, exchange, "subject_token="+g.Secret, map[string]string{"Content-Type": form})
	if status != http.StatusOK || !strings.Contains(body, g.Secret) {
		t.Errorf("an exchange: %d %s", status, body)
	}
	if status, body := w.do(t, http.MethodPost, exchange, "subject_token=x", map[string]string{"Content-Type": form}); status != http.StatusUnauthorized || strings.Contains(body, g.Secret) {
		t.Errorf("another's exchange: %d %s", status, body)
	}
	if got := w.requests(); len(got) != 0 {
		t.Errorf("the agent got %+v", got)
	}
}

func TestAzure(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &Azure{Secret: NewSecret(), Key: key, Identity: "/subscriptions/s/reader"}
	w := serve(t, a, AzureDomains)
	metadata := map[string]string{"Metadata": "true", "Content-Type": "application/x-www-form-urlencoded"}
	const resource = "https://management.core.windows.net/"
	status, body := w.do(t, http.MethodPost, a.Endpoint(), "resource="+url.QueryEscape(resource), metadata)
	var out struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	token, err := jwt.ParseSigned(out.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := token.Claims(key.Public(), &claims); err != nil || claims.Issuer != cloudhost.LocalIssuer || len(claims.Audience) != 1 || claims.Audience[0] != resource {
		t.Errorf("%+v, %v", claims, err)
	}
	asService := map[string]string{"X-Identity-Header": a.Secret}
	if status, body := w.do(t, http.MethodGet, a.Endpoint()+"?api-version=2019-08-01&resource="+url.QueryEscape(resource), "", asService); status != http.StatusOK || !strings.Contains(body, "expires_on") {
		t.Errorf("as App Service has it: %d %s", status, body)
	}
	const api = "https://management.azure.com/subscriptions?api-version=2020-01-01"
	if status, _ := w.do(t, http.MethodGet, api, "", map[string]string{"Authorization": "Bearer " + out.Token}); status != http.StatusOK {
		t.Errorf("with the token: %d", status)
	}
	if got := w.requests(); len(got) != 1 || got[0].Header.Get("Authorization") != "Bearer "+out.Token {
		t.Errorf("the agent got %+v", got)
	}
	for name, c := range map[string]struct {
		target, body string
		header       map[string]string
		want         int
	}{
		"another's endpoint": {"https://" + azureMSI + "/x", "resource=" + resource, metadata, http.StatusForbidden},
		"no header":          {a.Endpoint(), "resource=" + resource, nil, http.StatusForbidden},
		"another's header":   {a.Endpoint(), "resource=" + resource, map[string]string{"X-Identity-Header": NewSecret()}, http.StatusForbidden},
		"the header alone":   {"https://" + azureMSI + "/x", "resource=" + resource, asService, http.StatusForbidden},
		"another API":        {a.Endpoint(), "resource=https://evil.test", metadata, http.StatusBadRequest},
		"no token":           {api, "", nil, http.StatusForbidden},
		"another token":      {api, "", map[string]string{"Authorization": "Bearer x"}, http.StatusForbidden},
		"a changed token":    {api, "", map[string]string{"Authorization": "Bearer " + out.Token[:len(out.Token)-4] + "AAAA"}, http.StatusForbidden},
	} {
		if status, body := w.do(t, http.MethodPost, c.target, c.body, c.header); status != c.want {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if got := w.requests(); len(got) != 0 {
		t.Errorf("the agent got %+v", got)
	}
}
