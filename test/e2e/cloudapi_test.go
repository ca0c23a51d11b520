package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"teleport/cloud/cloudtest"
	"teleport/test/cluster"
)

const s3Role = "arn:aws:iam::123456789012:role/reader"

// cloudWorld is a cluster whose agent is in AWS, in front of an S3 that verifies what
// it signs.
type cloudWorld struct {
	*cluster.Cluster
	guide *guide
	s3    *cloudtest.S3
	alice *cluster.Person
}

// newCloudWorld sets one up as docs/cloud-apis.md says.
func newCloudWorld(t *testing.T) *cloudWorld {
	t.Helper()
	page, err := os.ReadFile("../../docs/cloud-apis.md")
	if err != nil {
		t.Fatal(err)
	}
	in := cloudtest.NewAWS(t)
	in.Role(s3Role, cloudtest.AWSRole{Trusts: cloudtest.AgentARN, ExternalID: "ours"})
	w := &cloudWorld{s3: cloudtest.NewS3(t, in)}
	env := []string{"AWS_CA_BUNDLE=" + write(t, t.TempDir()+"/s3.pem", w.s3.CA())}
	for k, v := range in.Environment(t.TempDir()) {
		if v != "" {
			env = append(env, k+"="+v)
		}
	}
	w.Cluster = cluster.New(t, cluster.Opts{Env: env})
	token := w.Token(t, "app")
	w.AddAgent(t, "app-1", func(d cluster.Doc) {
		d.Set("ssh_service.enabled", false).Set("app_service.enabled", true)
		d.Set("teleport.join_params.token_name", token)
		d.Set("app_service.apps", []any{map[string]any{"name": "aws", "uri": "cloud://AWS", "labels": map[string]any{"env": "test"},
			"aws": map[string]any{"external_id": "ours"}, "cloud_endpoints": map[string]any{"s3": w.s3.URL}}})
	})
	w.guide = &guide{t, string(page), []string{"8443", cluster.FreePort(t)}}
	w.TctlIn(w.guide.block("kind: role"), "create", "-f").OK(t)
	w.alice = w.User(t, "alice", []string{"aws-reader"}, nil)
	w.alice.Login(t)
	w.alice.MoreEnv = append(w.alice.MoreEnv, "PATH=/usr/bin:/bin", "AWS_PROFILE=none", "AWS_SESSION_TOKEN=of-something-else", "AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=eu-west-1")
	return w
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
	w := newCloudWorld(t)
	ls := w.guide.line("tsh aws --app=aws")
	cluster.Until(t, within, "the app", func() bool { return w.tsh(t, ls).Code == 0 })
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
	log := ""
	cluster.Until(t, within, "the requests in the audit log", func() bool { // which the agent ships in its own time
		log = w.Tctl("audit", "search", "app.session.request", "--format=json").OK(t)
		return strings.Contains(log, `"status_code":503`) || strings.Contains(log, `"status_code": 503`)
	})
	contains(t, log, "ListBuckets", "PutObject", `"s3"`, "eu-west-1", s3Role, "demo.s3.eu-west-1.amazonaws.com", "T2009I")
	if strings.Contains(log, "of-something-else") {
		t.Error("the log holds a token")
	}
}

// TestTheProxyOfAWS opens tsh proxy aws, and gives an SDK what it prints.
func TestTheProxyOfAWS(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t)
	line := strings.Fields(strings.TrimPrefix(w.guide.line("tsh proxy aws"), "tsh "))
	cluster.Until(t, within, "the app", func() bool { return strings.Contains(w.alice.Tsh("apps", "ls").Stdout, "aws") })
	live := w.alice.StartTsh(t, line...)
	live.WaitFor(t, "AWS_SECRET_ACCESS_KEY")
	env := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^export (\w+)='?([^'\n]*)'?$`).FindAllStringSubmatch(live.Out.String(), -1) {
		env[m[1]] = m[2]
	}
	via, err := url.Parse(env["HTTPS_PROXY"])
	if err != nil || via.Host == "" {
		t.Fatalf("the environment is %v", env)
	}
	pem, err := os.ReadFile(env["AWS_CA_BUNDLE"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := func(id, secret string) *s3.Client {
		return s3.New(s3.Options{Region: "eu-west-1", RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
			HTTPClient: &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(via), TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}})
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
}
