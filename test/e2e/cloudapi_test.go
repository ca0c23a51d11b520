package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"teleport/cloud/cloudtest"
	"teleport/test/cluster"
)

const s3Role = "arn:aws:iam::123456789012:role/reader"

// cloudWorld is a cluster whose agent is in a cloud.
type cloudWorld struct {
	*cluster.Cluster
	guide *guide
	s3    *cloudtest.S3
	alice *cluster.Person
}

// newCloudWorld sets up a cluster as docs/cloud-apis.md says: an agent with an app, in
// an environment, and somebody with a role of the page.
func newCloudWorld(t *testing.T, env []string, app map[string]any, role string, replace ...string) *cloudWorld {
	t.Helper()
	page, err := os.ReadFile("../../docs/cloud-apis.md")
	if err != nil {
		t.Fatal(err)
	}
	w := &cloudWorld{Cluster: cluster.New(t, cluster.Opts{Env: env}), guide: &guide{t, string(page), replace}}
	token := w.Token(t, "app")
	w.AddAgent(t, "app-1", func(d cluster.Doc) {
		d.Set("ssh_service.enabled", false).Set("app_service.enabled", true)
		d.Set("teleport.join_params.token_name", token).Set("app_service.apps", []any{app})
	})
	w.TctlIn(w.guide.block("metadata: {name: "+role+"}"), "create", "-f").OK(t)
	w.alice = w.User(t, "alice", []string{role}, nil)
	w.alice.Login(t)
	w.alice.MoreEnv = append(w.alice.MoreEnv, "PATH=/usr/bin:/bin")
	cluster.Until(t, within, "the app", func() bool { return strings.Contains(w.alice.Tsh("apps", "ls").Stdout, app["name"].(string)) })
	return w
}

// newAWSWorld is one in AWS, before an S3 that verifies what the agent signs.
func newAWSWorld(t *testing.T) *cloudWorld {
	t.Helper()
	in := cloudtest.NewAWS(t)
	in.Role(s3Role, cloudtest.AWSRole{Trusts: cloudtest.AgentARN, ExternalID: "ours"})
	s3 := cloudtest.NewS3(t, in)
	env := []string{"AWS_CA_BUNDLE=" + write(t, t.TempDir()+"/s3.pem", s3.CA())}
	for k, v := range in.Environment(t.TempDir()) {
		if v != "" {
			env = append(env, k+"="+v)
		}
	}
	w := newCloudWorld(t, env, map[string]any{"name": "aws", "uri": "cloud://AWS", "labels": map[string]any{"env": "test"},
		"aws": map[string]any{"external_id": "ours"}, "cloud_endpoints": map[string]any{"s3": s3.URL}}, "aws-reader", "8443", cluster.FreePort(t))
	w.s3 = s3
	w.alice.MoreEnv = append(w.alice.MoreEnv, "AWS_PROFILE=none", "AWS_SESSION_TOKEN=of-something-else", "AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=eu-west-1")
	return w
}

// openProxy starts a tsh proxy of a cloud, and returns the environment that it prints
// and what a program makes of it. bundle is the variable of whom to trust; the others
// must be there too.
func (w *cloudWorld) openProxy(t *testing.T, line, bundle string, others ...string) (map[string]string, *http.Client) {
	t.Helper()
	live := w.alice.StartTsh(t, strings.Fields(strings.TrimPrefix(line, "tsh "))...)
	env := map[string]string{}
	cluster.Until(t, within, "the environment", func() bool {
		for _, m := range regexp.MustCompile(`(?m)^export (\w+)='?([^'\n]*)'?\n`).FindAllStringSubmatch(live.Out.String(), -1) {
			env[m[1]] = m[2]
		}
		return !slices.ContainsFunc(append(others, bundle, "HTTPS_PROXY"), func(name string) bool { return env[name] == "" })
	})
	via, err := url.Parse(env["HTTPS_PROXY"])
	if err != nil || via.Host == "" {
		t.Fatalf("the environment is %v", env)
	}
	pem, err := os.ReadFile(env[bundle])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return env, &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(via), TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
}

// askCloud asks an API of a cloud with headers, by names and values.
func askCloud(t *testing.T, c *http.Client, target string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(r)
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

// requests waits until the log, which the agent ships in its own time, has answers of
// the cloud with these statuses, and returns what it has.
func (w *cloudWorld) requests(t *testing.T, statuses ...int) string {
	t.Helper()
	log := ""
	cluster.Until(t, within, "the requests in the audit log", func() bool {
		log = w.Tctl("audit", "search", "app.session.request", "--format=json").OK(t)
		return !slices.ContainsFunc(statuses, func(s int) bool {
			return !regexp.MustCompile(fmt.Sprintf(`"status_code": ?%d\b`, s)).MatchString(log)
		})
	})
	return log
}

// tsh runs a line of the guide, with more words.
func (w *cloudWorld) tsh(t *testing.T, line string, more ...string) cluster.Result {
	t.Helper()
	words := strings.Fields(strings.TrimPrefix(line, "tsh "))
	return w.alice.Tsh(append(words, more...)...)
}

// TestTheAWSCommandUsesS3 does what the guide says, with no key of the cloud on the
// person's machine.
func TestTheAWSCommandUsesS3(t *testing.T) {
	t.Parallel()
	cluster.Need(t, "/usr/bin/aws", "awscli")
	w := newAWSWorld(t)
	ls := w.guide.line("tsh aws --app=aws")
	own := strings.TrimSuffix(ls, " s3 ls")
	contains(t, w.tsh(t, ls).OK(t), "demo")
	file := filepath.Join(t.TempDir(), "a file+b")
	write(t, file, strings.Repeat("0123456789abcdef", 1<<16))
	w.tsh(t, own, "s3", "cp", "--no-progress", file, "s3://demo/dir/a file+b").OK(t)
	w.tsh(t, own, "s3api", "put-object", "--bucket", "demo", "--key", "small", "--body", write(t, t.TempDir()+"/small", "hello"), "--checksum-algorithm", "CRC32").OK(t)
	contains(t, w.tsh(t, own, "s3", "ls", "s3://demo/dir/").OK(t), "a file+b")
	if got := w.tsh(t, own, "s3", "cp", "s3://demo/small", "-").OK(t); got != "hello" {
		t.Errorf("the object is %q", got)
	}
	if !strings.Contains(w.tsh(t, "tsh aws --exec=env").OK(t), "HTTPS_PROXY=") { // the only app, and the only role
		t.Error("another program has not the environment")
	}
	for name, c := range map[string]struct {
		r    cluster.Result
		want string
	}{
		"an error of S3's own": {w.tsh(t, own, "s3", "cp", "s3://demo/nothing", "-"), "404"},
		"another role":         {w.alice.Tsh("aws", "--app=aws", "--aws-role=arn:aws:iam::123456789012:role/admin", "s3", "ls"), "aws_role_arns"},
		"a name alone":         {w.alice.Tsh("aws", "--app=aws", "--aws-role=admin", "s3", "ls"), "your roles do not allow"},
		"no such app":          {w.alice.Tsh("aws", "--app=other", "--aws-role="+s3Role, "s3", "ls"), "no app \"other\""},
	} {
		if out := c.r.Stdout + c.r.Stderr; c.r.Code == 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d %s", name, c.r.Code, out)
		}
	}
	for status, want := range map[int]string{http.StatusForbidden: "AccessDenied", http.StatusServiceUnavailable: "SlowDown"} {
		w.s3.Answer(status)
		if r := w.tsh(t, own, "s3", "ls", "s3://demo/"); r.Code == 0 || !strings.Contains(r.Stderr, want) {
			t.Errorf("S3 answers %d: %d %s", status, r.Code, r.Stderr)
		}
	}
	w.s3.Answer(0)
	_, signers := w.s3.Seen()
	if len(signers) == 0 || signers[0].ARN != s3Role || signers[0].Session != "alice" {
		t.Errorf("signed by %+v", signers)
	}
	log := w.requests(t, http.StatusForbidden, http.StatusServiceUnavailable)
	contains(t, log, "ListBuckets", "PutObject", `"s3"`, "eu-west-1", s3Role, "demo.s3.eu-west-1.amazonaws.com", "T2009I")
	if strings.Contains(log, "of-something-else") {
		t.Error("the log holds a token")
	}
}

// TestTheProxyOfAWS opens tsh proxy aws, and gives an SDK what it prints.
func TestTheProxyOfAWS(t *testing.T) {
	t.Parallel()
	w := newAWSWorld(t)
	env, via := w.openProxy(t, w.guide.line("tsh proxy aws"), "AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
	client := func(id, secret string) *s3.Client {
		return s3.New(s3.Options{Region: "eu-west-1", RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
			HTTPClient: via})
	}
	c := client(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
	cluster.Until(t, within, "an answer through the proxy", func() bool { _, err := c.ListBuckets(context.Background(), nil); return err == nil })
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	ctx := context.Background()
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), Body: bytes.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes of %d, %v", len(got), len(body), err)
	}
	list, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("demo")})
	if err != nil || len(list.Contents) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	before, _ := w.s3.Seen()
	for name, stranger := range map[string]*s3.Client{"another secret": client(env["AWS_ACCESS_KEY_ID"], "x"), "another key": client("AKIAXXXXXXXXXXXXXXXX", env["AWS_SECRET_ACCESS_KEY"])} {
		if _, err := stranger.ListBuckets(ctx, nil); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after, _ := w.s3.Seen(); len(after) != len(before) {
		t.Error("a stranger's request went through")
	}
	w.athena(t)
}

// athena has tsh print the string of a driver of Athena's, which leads as far as an
// environment does.
func (w *cloudWorld) athena(t *testing.T) {
	t.Helper()
	live := w.alice.StartTsh(t, "proxy", "aws", "--app=aws", "--format=athena-odbc")
	live.WaitFor(t, "TrustedCerts=")
	live.WaitFor(t, "\n")
	said := map[string]string{}
	for _, part := range strings.Split(strings.TrimSpace(live.Out.String()), ";") {
		name, value, _ := strings.Cut(part, "=")
		said[name] = value
	}
	pem, err := os.ReadFile(said["TrustedCerts"])
	if err != nil || said["AwsRegion"] != "eu-west-1" || said["ProxyScheme"] != "http" {
		t.Fatalf("%v, %q", err, said)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	via := &url.URL{Scheme: said["ProxyScheme"], Host: net.JoinHostPort(said["ProxyHost"], said["ProxyPort"])}
	c := s3.New(s3.Options{Region: said["AwsRegion"], RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider(said["UID"], said["PWD"], ""),
		HTTPClient: &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(via), TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}})
	cluster.Until(t, within, "an answer by the driver's string", func() bool { _, err := c.ListBuckets(t.Context(), nil); return err == nil })
	java := w.alice.StartTsh(t, "proxy", "aws", "--app=aws", "--format=athena-jdbc")
	java.WaitFor(t, "jdbc:awsathena://AwsRegion=eu-west-1;User=AKIA")
	cluster.Until(t, within, "the words about a key store", func() bool { return strings.Contains(java.Errs.String(), "keytool -noprompt -importcert") })
}
