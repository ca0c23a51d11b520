package sigv4wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"teleport/fault"
)

const (
	exampleSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" // of AWS's own examples
	s3Secret      = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	emptyHash     = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func stamp(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(timeLayout, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestPublishedVectors holds the verifier to signatures that AWS has published:
// the examples of its user guides, and the cases of its test suite.
func TestPublishedVectors(t *testing.T) {
	const suite, guide = "20150830T123600Z", "20130524T000000Z"
	for name, c := range map[string]struct {
		request   Request
		scope     string
		signed    string
		signature string
	}{
		"guide: ListUsers": {Request{Method: "GET", Target: "/?Action=ListUsers&Version=2010-05-08", Host: "iam.amazonaws.com",
			Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}},
			"us-east-1/iam", "content-type;host;x-amz-date", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
		"get-vanilla": {Request{Method: "GET", Target: "/"}, "us-east-1/service", "host;x-amz-date",
			"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"get-slash-dot-slash": {Request{Method: "GET", Target: "/./"}, "us-east-1/service", "host;x-amz-date",
			"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"get-relative": {Request{Method: "GET", Target: "/example/.."}, "us-east-1/service", "host;x-amz-date",
			"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"get-vanilla-query-order-key-case": {Request{Method: "GET", Target: "/?Param2=value2&Param1=value1"}, "us-east-1/service", "host;x-amz-date",
			"b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		"get-vanilla-utf8-query": {Request{Method: "GET", Target: "/?%E1%88%B4=bar"}, "us-east-1/service", "host;x-amz-date",
			"2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		"get-header-key-duplicate": {Request{Method: "GET", Target: "/", Header: http.Header{"My-Header1": {"value2", "value2", "value1"}}},
			"us-east-1/service", "host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		"get-header-value-trim": {Request{Method: "GET", Target: "/", Header: http.Header{"My-Header1": {" value1"}, "My-Header2": {` "a   b   c"`}}},
			"us-east-1/service", "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		"post-vanilla": {Request{Method: "POST", Target: "/"}, "us-east-1/service", "host;x-amz-date",
			"5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		"post-x-www-form-urlencoded": {Request{Method: "POST", Target: "/", Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			Body: []byte("Param1=value1")}, "us-east-1/service", "content-type;host;x-amz-date", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
		"s3 guide: list": {Request{Method: "GET", Target: "/?max-keys=2&prefix=J", Host: "examplebucket.s3.amazonaws.com",
			Header: http.Header{"X-Amz-Content-Sha256": {emptyHash}}}, "us-east-1/s3", "host;x-amz-content-sha256;x-amz-date",
			"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
		"s3 guide: get lifecycle": {Request{Method: "GET", Target: "/?lifecycle", Host: "examplebucket.s3.amazonaws.com",
			Header: http.Header{"X-Amz-Content-Sha256": {emptyHash}}}, "us-east-1/s3", "host;x-amz-content-sha256;x-amz-date",
			"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		"s3 guide: get object": {Request{Method: "GET", Target: "/test.txt", Host: "examplebucket.s3.amazonaws.com",
			Header: http.Header{"X-Amz-Content-Sha256": {emptyHash}, "Range": {"bytes=0-9"}}}, "us-east-1/s3", "host;range;x-amz-content-sha256;x-amz-date",
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		"s3 guide: put object": {Request{Method: "PUT", Target: "/test%24file.text", Host: "examplebucket.s3.amazonaws.com", Body: []byte("Welcome to Amazon S3."),
			Header: http.Header{"X-Amz-Content-Sha256": {"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
				"Date": {"Fri, 24 May 2013 00:00:00 GMT"}, "X-Amz-Storage-Class": {"REDUCED_REDUNDANCY"}}}, "us-east-1/s3",
			"date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
	} {
		t.Run(name, func(t *testing.T) {
			r, at, key, secret := c.request, suite, "AKIDEXAMPLE", exampleSecret
			if strings.HasSuffix(c.scope, "/s3") {
				at, key, secret = guide, "AKIAIOSFODNN7EXAMPLE", s3Secret
			}
			if r.Header == nil {
				r.Header = http.Header{}
			}
			if r.Host == "" {
				r.Host = "example.amazonaws.com"
			}
			r.Header["X-Amz-Date"] = []string{at}
			r.Header["Authorization"] = []string{"AWS4-HMAC-SHA256 Credential=" + key + "/" + at[:8] + "/" + c.scope + "/aws4_request, SignedHeaders=" +
				c.signed + ", Signature=" + c.signature}
			s, err := Verify(&r, secret, stamp(t, at))
			if err != nil {
				t.Fatal(err)
			}
			if s.AccessKey != key || s.Region+"/"+s.Service != c.scope {
				t.Errorf("got %+v", s.Credential)
			}
			if _, err := Verify(&r, secret+"x", stamp(t, at)); !errors.Is(err, fault.Unauthenticated) {
				t.Errorf("another secret: %v", err)
			}
		})
	}
}

// TestPublishedPresignedURL is the example of S3's guide.
func TestPublishedPresignedURL(t *testing.T) {
	r := &Request{Method: "GET", Host: "examplebucket.s3.amazonaws.com", Target: "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400" +
		"&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"}
	at := stamp(t, "20130524T120000Z")
	if _, err := VerifyPresigned(r, s3Secret, at); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyPresigned(r, s3Secret, at.Add(13*time.Hour)); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("an expired one: %v", err)
	}
	r.Target = strings.Replace(r.Target, "test.txt", "test.txu", 1)
	if _, err := VerifyPresigned(r, s3Secret, at); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("another object: %v", err)
	}
}

// sign signs by the vendor's own signer.
func sign(t testing.TB, method, target string, header http.Header, body []byte, at time.Time) *Request {
	t.Helper()
	req, err := http.NewRequest(method, "https://dynamodb.eu-west-1.amazonaws.com:8443"+target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = slices.Clone(v)
	}
	sum := sha256.Sum256(body)
	creds := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret", SessionToken: "token"}
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, req, hex.EncodeToString(sum[:]), "dynamodb", "eu-west-1", at); err != nil {
		t.Fatal(err)
	}
	return &Request{Method: method, Target: req.URL.RequestURI(), Host: req.Host, Header: req.Header, Body: body}
}

// TestAgainstTheVendorsSigner signs requests of all forms there and verifies here.
func TestAgainstTheVendorsSigner(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	letters := []rune("abcXYZ019-._~ !*'()+,;=:@$&/?%é漢")
	word := func(n int) string {
		out := make([]rune, 1+rnd.Intn(n))
		for i := range out {
			out[i] = letters[rnd.Intn(len(letters))]
		}
		return string(out)
	}
	at := stamp(t, "20261128T101112Z")
	for range 500 {
		target := "/x" + url.PathEscape(word(9)) + "y/z" + url.PathEscape(word(9)) + "w"
		query := url.Values{}
		for range rnd.Intn(4) {
			query.Add(word(3), word(6))
		}
		if len(query) > 0 {
			target += "?" + query.Encode()
		}
		header := http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Target": {"DynamoDB_20120810." + word(8)}, "X-Own": {"a  b ", word(5)}}
		r := sign(t, "POST", target, header, []byte(word(40)), at)
		s, err := Verify(r, "secret", at.Add(time.Minute))
		if err != nil {
			t.Fatalf("%s %v: %v", r.Target, r.Header, err)
		}
		if s.Credential != (Credential{"AKID", "20261128", "eu-west-1", "dynamodb"}) || s.Token != "token" {
			t.Fatalf("got %+v", s)
		}
	}
}

// TestWhatIsNotCoveredIsRefused changes a signed request in every way that counts.
func TestWhatIsNotCoveredIsRefused(t *testing.T) {
	at := stamp(t, "20261128T101112Z")
	for name, change := range map[string]func(r *Request){
		"no signature": func(r *Request) { delete(r.Header, "Authorization") },
		"two signatures": func(r *Request) {
			r.Header["Authorization"] = append(r.Header["Authorization"], r.Header["Authorization"][0])
		},
		"another algorithm": func(r *Request) {
			r.Header["Authorization"][0] = "AWS4-ECDSA-P256-SHA256 " + r.Header["Authorization"][0][17:]
		},
		"a long header":         func(r *Request) { r.Header["Authorization"][0] += strings.Repeat(" ", maxHeader) },
		"another body":          func(r *Request) { r.Body = []byte(`{"TableName":"b"}`) },
		"another host":          func(r *Request) { r.Host = "example.com" },
		"another method":        func(r *Request) { r.Method = "GET" },
		"another path":          func(r *Request) { r.Target = "/x" },
		"another query":         func(r *Request) { r.Target += "?a=b" },
		"a broken query":        func(r *Request) { r.Target += "?a=%zz" },
		"another operation":     func(r *Request) { r.Header["X-Amz-Target"] = []string{"DynamoDB_20120810.DeleteTable"} },
		"a second operation":    func(r *Request) { r.Header["X-Amz-Target"] = append(r.Header["X-Amz-Target"], "x") },
		"a header of AWS's":     func(r *Request) { r.Header["X-Amz-Expected-Bucket-Owner"] = []string{"1"} },
		"no date":               func(r *Request) { delete(r.Header, "X-Amz-Date") },
		"another day":           func(r *Request) { r.Header["X-Amz-Date"] = []string{"20261127T101112Z"} },
		"an unsigned body":      func(r *Request) { r.Header["X-Amz-Content-Sha256"] = []string{"UNSIGNED-PAYLOAD"} },
		"no session token":      func(r *Request) { delete(r.Header, "X-Amz-Security-Token") },
		"another session token": func(r *Request) { r.Header["X-Amz-Security-Token"] = []string{"x"} },
		"another scope": func(r *Request) {
			r.Header["Authorization"][0] = strings.Replace(r.Header["Authorization"][0], "/dynamodb/", "/s3/", 1)
		},
		"host not signed": func(r *Request) {
			r.Header["Authorization"][0] = strings.Replace(r.Header["Authorization"][0], ";host", "", 1)
		},
		"headers out of order": func(r *Request) {
			r.Header["Authorization"][0] = strings.Replace(r.Header["Authorization"][0], "content-type;host", "host;content-type", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Target": {"DynamoDB_20120810.GetItem"}}
			r := sign(t, "POST", "/", header, []byte(`{"TableName":"a"}`), at)
			if _, err := Verify(r, "secret", at); err != nil {
				t.Fatal(err)
			}
			change(r)
			if s, err := Verify(r, "secret", at); !errors.Is(err, fault.Unauthenticated) {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
	for _, off := range []time.Duration{-MaxSkew - time.Second, MaxSkew + time.Second} {
		r := sign(t, "POST", "/", nil, nil, at)
		if _, err := Verify(r, "secret", at.Add(off)); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%v off: %v", off, err)
		}
	}
}

// FuzzVerify holds that nothing that was not signed is taken, and nothing panics.
func FuzzVerify(f *testing.F) {
	at := time.Date(2026, 11, 28, 10, 11, 12, 0, time.UTC)
	r := sign(f, "POST", "/a%20b?c=d", http.Header{"X-Amz-Target": {"DynamoDB_20120810.GetItem"}}, []byte("{}"), at)
	f.Add(r.Method, r.Target, r.Host, r.Header["Authorization"][0], r.Header["X-Amz-Date"][0], []byte("{}"))
	f.Add("GET", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=1&X-Amz-Credential=a/b/c/d/aws4_request", "h", "", "", []byte{})
	f.Fuzz(func(t *testing.T, method, target, host, authorization, date string, body []byte) {
		req := &Request{Method: method, Target: target, Host: host, Header: map[string][]string{"Authorization": {authorization}, "X-Amz-Date": {date}}, Body: body}
		if s, err := Verify(req, "another secret", at); err == nil {
			t.Errorf("taken: %+v", s)
		}
		if s, err := VerifyPresigned(req, "another secret", at); err == nil {
			t.Errorf("taken: %+v", s)
		}
	})
}
