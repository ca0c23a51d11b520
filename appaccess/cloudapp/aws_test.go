package cloudapp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
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
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"teleport/cloud/awscloud"
	"teleport/cloud/cloudtest"
	"teleport/sigv4wire"
	"teleport/types"
	"teleport/types/event"
)

const roleARN = "arn:aws:iam::210987654321:role/reader"

// told is what the audit log would hold.
type told struct {
	event.AppRequest
	status int
	why    error
}

// world is an agent before a cloud.
type world struct {
	*httptest.Server
	engine *Engine
	ask    Ask
	mu     sync.Mutex
	log    []told
}

func serve(t *testing.T, e *Engine, ask Ask) *world {
	t.Helper()
	ask.Until = time.Now().Add(time.Hour)
	w := &world{engine: e, ask: ask}
	refuser := app{e, ask.Cloud}
	forward := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		var e event.AppRequest
		resp, err := w.engine.answer(r, &w.ask, &e)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.log = append(w.log, told{e, 0, err})
		if err == nil {
			w.log[len(w.log)-1].status = resp.StatusCode
			return resp, nil
		}
		return refuser.Refusal(r, &e, err), nil
	})}
	w.Server = httptest.NewServer(forward)
	t.Cleanup(w.Close)
	t.Cleanup(e.Close)
	return w
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// told returns the log and forgets it.
func (w *world) told() []told {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.log
	w.log = nil
	return out
}

// RoundTrip is the way of a client whose local proxy has let it through: whatever
// the host, it is taken to the agent.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host = "http", strings.TrimPrefix(w.URL, "http://"), r.URL.Host
	return http.DefaultTransport.RoundTrip(out)
}

func (w *world) s3(region string, change ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{Region: region, HTTPClient: &http.Client{Transport: w}, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("own", "own", "own-token")}, change...)
}

// awsWorld is that with an S3 that verifies what the agent signs.
func awsWorld(t *testing.T) (*world, *cloudtest.AWS, *cloudtest.S3) {
	t.Helper()
	a := cloudtest.NewAWS(t)
	a.Use(t)
	a.Role(roleARN, cloudtest.AWSRole{Trusts: cloudtest.AgentARN, ExternalID: "ours"})
	s := cloudtest.NewS3(t, a)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, []byte(s.CA()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	w := serve(t, &Engine{AWS: &awscloud.Cloud{}}, Ask{Person: "alice@example.com", Cloud: types.CloudAWS, As: roleARN, ExternalID: "ours", PublicAddr: "aws.proxy.example.com",
		Endpoints: map[string]string{"s3": s.URL, "signin": a.Signin}})
	return w, a, s
}

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return fmt.Sprint(err)
}

// TestAnSDKUsesS3 puts, gets and lists objects of all kinds of names and lengths.
func TestAnSDKUsesS3(t *testing.T) {
	w, _, s := awsWorld(t)
	c := w.s3("eu-west-1")
	long := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	for key, body := range map[string][]byte{"a": nil, "dir/b c+d&e=f.txt": []byte("hello"), "ümläut/漢": []byte("x"), "long": long, "a//b": []byte("y"), "p%25q": []byte("z")} {
		if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: &key, Body: bytes.NewReader(body)}); err != nil {
			t.Fatalf("put %q: %v", key, err)
		}
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: &key})
		if err != nil {
			t.Fatalf("get %q: %v", key, err)
		}
		got, err := io.ReadAll(out.Body)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("get %q: %d bytes of %d, %v", key, len(got), len(body), err)
		}
	}
	list, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("demo"), Prefix: aws.String("dir/")})
	if err != nil || len(list.Contents) != 1 {
		t.Fatalf("list: %v, %v", list, err)
	}
	log := w.told()
	if first := log[0]; first.AWSService != "s3" || first.AWSRegion != "eu-west-1" || first.AWSHost != "demo.s3.eu-west-1.amazonaws.com" || first.AWSAssumedRole != roleARN ||
		first.AWSAction != "PutObject" || first.status != 200 {
		t.Errorf("told %+v", first)
	}
	if last := log[len(log)-1]; last.AWSAction != "ListObjectsV2" || last.status != 200 {
		t.Errorf("told %+v", last)
	}
	requests, signers := s.Seen()
	if signers[0].ARN != roleARN || signers[0].Session != "alice@example.com" {
		t.Errorf("signed by %+v", signers[0])
	}
	for _, r := range requests {
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, ","), "own") || name == "X-Forwarded-For" {
				t.Errorf("the header %s: %v went through", name, values)
			}
		}
	}
}

// hashed makes a client hash whole bodies.
func hashed(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware, func(m *middleware.Stack) error {
		_, err := m.Finalize.Swap("ComputePayloadHash", &v4.ComputePayloadSHA256{})
		return err
	})
}

// TestFormsOfBodiesGoThrough are an unsigned body and one that is hashed.
func TestFormsOfBodiesGoThrough(t *testing.T) {
	w, _, s := awsWorld(t)
	for _, c := range []struct {
		name string
		of   func(*s3.Options)
	}{
		{"a checksum behind the body", func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported }},
		{"checksums only where they must be", func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired }},
		{"path style", func(o *s3.Options) { o.UsePathStyle = true }},
		{"dual stack", func(o *s3.Options) { o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled }},
	} {
		if _, err := w.s3("us-east-1", c.of).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), Body: strings.NewReader("v")}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := w.s3("us-east-1", hashed).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), Body: strings.NewReader("v")}); err != nil {
		t.Errorf("hashed: %v", err)
	}
	forms := map[string]bool{}
	requests, _ := s.Seen()
	for _, r := range requests {
		form := r.Header.Get("X-Amz-Content-Sha256")
		if len(form) == 64 {
			form = "hash"
		}
		forms[form] = true
	}
	if !forms["hash"] || !forms[sigv4wire.Unsigned] || !forms[sigv4wire.UnsignedTrailer] {
		t.Errorf("the forms were %v", forms)
	}
}

// request is one that a local proxy has let through.
func request(t *testing.T, w *world, method, host, target string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.URL+target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func signedFor(scope string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("X-Amz-Date", "20261128T101112Z")
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/20261128/"+scope+"/aws4_request, SignedHeaders=host, Signature="+strings.Repeat("0", 64))
	}
}

// TestNothingIsSignedForOthers is what an agent refuses, before it asks AWS.
func TestNothingIsSignedForOthers(t *testing.T) {
	w, a, s := awsWorld(t)
	const s3Host, scope = "s3.eu-west-1.amazonaws.com", "eu-west-1/s3"
	for name, c := range map[string]struct {
		host, target string
		change       func(*http.Request)
		want         string
	}{
		"a foreign host":          {"evil.test", "/", signedFor(scope), "no host of AWS"},
		"an address":              {"169.254.169.254", "/latest/meta-data/", signedFor(scope), "no host of AWS"},
		"a tenant's host":         {"x.eu-west-1.elb.amazonaws.com", "/", signedFor(scope), "no host of AWS"},
		"what ends like it":       {"s3.eu-west-1.amazonaws.com.evil.test", "/", signedFor(scope), "no host of AWS"},
		"another port":            {s3Host + ":8443", "/", signedFor(scope), "no host of AWS"},
		"another region":          {s3Host, "/", signedFor("us-east-1/s3"), "signed for s3 in us-east-1"},
		"another service":         {"sts.eu-west-1.amazonaws.com", "/", signedFor(scope), "signed for s3 in eu-west-1"},
		"no signature":            {s3Host, "/", nil, "not signed"},
		"a signed URL":            {s3Host, "/demo/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=x&X-Amz-Signature=y", nil, "signed ahead"},
		"another partition":       {"s3.cn-north-1.amazonaws.com.cn", "/", signedFor("cn-north-1/s3"), "partition"},
		"another algorithm":       {s3Host, "/", func(r *http.Request) { r.Header.Set("Authorization", "AWS4-ECDSA-P256-SHA256 x") }, "not signed by"},
		"a path that leads out":   {"lambda.eu-west-1.amazonaws.com", "/2015-03-31/functions/%2e%2e/x", signedFor("eu-west-1/lambda"), "leads out"},
		"a form of body":          {s3Host, "/demo/k", and(signedFor(scope), "X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), "not let through"},
		"a query without meaning": {s3Host, "/demo/k?a=%zz", signedFor(scope), "query"},
	} {
		resp, body := request(t, w, http.MethodGet, c.host, c.target, c.change)
		log := w.told()
		if resp.StatusCode < 400 || !strings.Contains(body, c.want) || len(log) != 1 || log[0].why == nil {
			t.Errorf("%s: %d %s, %+v", name, resp.StatusCode, body, log)
		}
	}
	if requests, _ := s.Seen(); len(requests) != 0 || a.Taken() != 0 {
		t.Errorf("%d requests went out, %d roles were taken", len(requests), a.Taken())
	}
}

func and(change func(*http.Request), name, value string) func(*http.Request) {
	return func(r *http.Request) {
		change(r)
		r.Header.Set(name, value)
	}
}

// TestWhatAWSSaysComesBack is an error of S3's own, throttling, and a role that may
// not be taken.
func TestWhatAWSSaysComesBack(t *testing.T) {
	w, _, s := awsWorld(t)
	get := func() error {
		_, err := w.s3("eu-west-1").GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("nothing")})
		return err
	}
	if err := get(); !strings.Contains(codeOf(err), "NoSuchKey") {
		t.Errorf("no such object: %v", err)
	}
	for status, code := range map[int]string{http.StatusForbidden: "AccessDenied", http.StatusServiceUnavailable: "SlowDown"} {
		s.Answer(status)
		w.told()
		if err := get(); !strings.Contains(codeOf(err), code) {
			t.Errorf("%s: %v", code, err)
		}
		if log := w.told(); len(log) != 1 || log[0].status != status || log[0].why != nil {
			t.Errorf("told %+v", log)
		}
	}
	s.Answer(0)
	w.ask.As = "arn:aws:iam::210987654321:role/other"
	if err := get(); !strings.Contains(codeOf(err), "AccessDenied") || !strings.Contains(codeOf(err), "role/other") {
		t.Errorf("a role that does not trust: %v", err)
	}
	w.ask.As, w.ask.ExternalID = roleARN, "another"
	if err := get(); !strings.Contains(codeOf(err), "AccessDenied") {
		t.Errorf("another external id: %v", err)
	}
}

// TestNothingAfterTheCertificatesEnd is sent.
func TestNothingAfterTheCertificatesEnd(t *testing.T) {
	w, _, s := awsWorld(t)
	w.ask.Until = time.Now().Add(-time.Second)
	if _, err := w.s3("eu-west-1").GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")}); !strings.Contains(codeOf(err), "AccessDenied") {
		t.Errorf("got %v", err)
	}
	if got, _ := s.Seen(); len(got) != 0 {
		t.Error("a request was sent")
	}
}

// TestFormsNameTheirAction is a service that takes forms: its body is read whole.
func TestFormsNameTheirAction(t *testing.T) {
	w, a, _ := awsWorld(t)
	w.ask.Endpoints["sts"] = a.STS
	c := sts.New(sts.Options{Region: "eu-west-1", HTTPClient: &http.Client{Transport: w}, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("own", "own", "")})
	_, err := c.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if !strings.Contains(codeOf(err), "only AssumeRole") { // the fake's, who has verified the signature
		t.Errorf("got %v", err)
	}
	if log := w.told(); len(log) != 1 || log[0].AWSAction != "GetCallerIdentity" || log[0].AWSService != "sts" || log[0].status != 400 {
		t.Errorf("told %+v", log)
	}
	w.ask.As = "arn:aws:iam::210987654321:role/other"
	if _, err := c.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); !strings.Contains(codeOf(err), "AccessDenied") {
		t.Errorf("got %v", err)
	}
}

// TestActionsHideNoOther names in one place what is not done, and in another what is:
// a service goes by one of them, and the log must have it.
func TestActionsHideNoOther(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for name, c := range map[string]struct {
		target, query, media, body string
		want                       string
	}{
		"a target":                {"Logs_20140328.ListThings", "", "application/x-amz-json-1.1", `{"a":"&Action=x"}`, "ListThings"},
		"a form":                  {"", "", form, "Version=1&Action=DeleteUser&UserName=a", "DeleteUser"},
		"a form in other letters": {"", "", "Application/X-WWW-Form-Urlencoded; charset=utf-8", "Action=DeleteUser", "DeleteUser"},
		"a form that says not so": {"", "", "", "%41ction=Delete%55ser", "DeleteUser"},
		"a target before a form":  {"X.ListUsers", "", form, "Action=DeleteUser", "ListUsers,DeleteUser"},
		"a query before a form":   {"", "Action=ListUsers", form, "Action=DeleteUser", "ListUsers,DeleteUser"},
		"two in a form":           {"", "", form, "Action=ListUsers&Action=DeleteUser", "ListUsers,DeleteUser"},
		"two in a query":          {"", "Action=ListUsers&Action=DeleteUser", "", "", "ListUsers,DeleteUser"},
		"one in two places":       {"X.ListUsers", "Action=ListUsers", form, "Action=ListUsers", "ListUsers"},
		"none":                    {"", "", form, "%zz=1&Action=", ""},
		"one often":               {"", "", form, strings.Repeat("Action=a&", 20) + "Action=b", "a,b"},
		"a long one":              {"", "", form, "Action=" + strings.Repeat("a", 5000) + "&Action=b", strings.Repeat("a", longestAction) + ",b"},
		"many":                    {"", "", form, "Action=1&Action=2&Action=3&Action=4&Action=5&Action=6&Action=7&Action=8&Action=9&Action=10", "1,2,3,4,5,6,7,8,…"},
	} {
		r := httptest.NewRequest(http.MethodPost, "https://iam.amazonaws.com/?"+c.query, nil)
		r.Header.Set("Content-Type", c.media)
		if c.target != "" {
			r.Header.Set("X-Amz-Target", c.target)
		}
		if got := actionOf(r, "/", c.query, "", false, []byte(c.body)); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	r := httptest.NewRequest(http.MethodDelete, "https://demo.s3.amazonaws.com/k", nil)
	r.Header.Set("X-Amz-Target", "S3.GetObject")
	if got := actionOf(r, "/k", "", "demo", true, nil); got != "DeleteObject" {
		t.Errorf("S3 goes by no target, and the log says %q", got)
	}
}

// TestConsole lets a browser into the console, as the role, once.
func TestConsole(t *testing.T) {
	w, _, _ := awsWorld(t)
	resp, body := request(t, w, http.MethodGet, w.ask.PublicAddr, "/", nil)
	to := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusFound || body != "" || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("%d %q %v", resp.StatusCode, body, resp.Header)
	}
	visit := func() string {
		got, err := http.Get(to)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		text, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := visit(); got != "console of "+roleARN+" as alice@example.com at https://console.aws.amazon.com/" {
		t.Errorf("the console says %q", got)
	}
	if got := visit(); got != "" {
		t.Errorf("a second time: %q", got)
	}
	if log := w.told(); len(log) != 1 || log[0].AWSAction != "getSigninToken" || log[0].status != http.StatusFound || strings.Contains(fmt.Sprint(log), "SigninToken=") {
		t.Errorf("told %+v", log)
	}
	w.ask.Until = time.Now().Add(10 * time.Minute)
	if resp, body := request(t, w, http.MethodGet, w.ask.PublicAddr, "/", nil); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "quarter of an hour") {
		t.Errorf("shortly before the end: %d %s", resp.StatusCode, body)
	}
	w.ask.Until, w.ask.As = time.Now().Add(time.Hour), "arn:aws:iam::210987654321:role/other"
	if resp, body := request(t, w, http.MethodGet, w.ask.PublicAddr, "/", nil); resp.StatusCode != http.StatusForbidden || resp.Header.Get("Location") != "" {
		t.Errorf("a role that does not trust: %d %s", resp.StatusCode, body)
	}
}
