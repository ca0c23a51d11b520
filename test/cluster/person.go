package cluster

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
)

// otpPeriod is the length of a time step of the authenticator app.
const otpPeriod = 30

// otpOnTheWay is how many seconds a code is good for at least when it is given out: on a
// busy machine it takes long to get where it is looked at.
const otpOnTheWay = 20

// Person is a user of the cluster with a home of their own on this machine, a
// password and an authenticator app.
type Person struct {
	Name     string
	Password string
	// Home is TELEPORT_HOME and HOME of this person's commands.
	Home string
	// MoreEnv is added to the environment of this person's commands.
	MoreEnv []string

	c      *Cluster
	mu     sync.Mutex
	secret string
	used   int64 // the newest time step of which a code was given out
}

// User creates a user and accepts the invite as a browser would.
func (c *Cluster) User(t testing.TB, name string, roles, logins []string) *Person {
	t.Helper()
	p, link := c.Invite(t, name, roles, logins)
	p.Accept(t, link)
	return p
}

// Invite creates a user and returns the link of the invite, not yet accepted.
func (c *Cluster) Invite(t testing.TB, name string, roles, logins []string) (p *Person, link string) {
	t.Helper()
	args := []string{"users", "add", name, "--roles=" + strings.Join(roles, ","), "--format=json"}
	if len(logins) > 0 {
		args = append(args, "--logins="+strings.Join(logins, ","))
	}
	var made struct {
		URL string `json:"url"`
	}
	out := c.Tctl(args...).OK(t)
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.URL == "" {
		t.Fatalf("tctl users add printed no link: %s", out)
	}
	c.Secret(made.URL[strings.LastIndexByte(made.URL, '/')+1:], "invite token")
	c.mu.Lock()
	c.people++
	home := filepath.Join(c.Dir, fmt.Sprintf("home-%d-%s", c.people, name))
	c.mu.Unlock()
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	p = &Person{Name: name, Password: "canary horse " + unique(), Home: home, c: c}
	c.Secret(p.Password, "password")
	return p, made.URL
}

// Accept sets password and authenticator app over the proxy's web API.
func (p *Person) Accept(t testing.TB, link string) {
	t.Helper()
	token := link[strings.LastIndexByte(link, '/')+1:]
	var invite struct {
		OTPSecret string `json:"otp_secret"`
	}
	p.web(t, http.MethodGet, "/webapi/invites/"+token, nil, &invite)
	p.enroll(invite.OTPSecret)
	p.web(t, http.MethodPost, "/webapi/invites/"+token, map[string]string{"password": p.Password, "otp": p.OTP(t)}, nil)
}

// SetOTP gives the person the authenticator app that somebody else enrolled, and the
// newest time step of which a code was used.
func (p *Person) SetOTP(secret string, step int64) {
	p.enroll(secret)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used = step
}

// OTPSecret is the secret of the person's authenticator app, for programs that make
// codes by themselves.
func (p *Person) OTPSecret() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.secret
}

// OTPStep is the newest time step of which a code was given out, for the same.
func (p *Person) OTPStep() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

func (p *Person) enroll(secret string) {
	p.c.Secret(secret, "OTP secret")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secret, p.used = secret, 0
}

// OTP is a code that the cluster will accept: it takes each code once, and none
// older than one that it took, of this time step or of one either way. So two or
// three codes are there at once; the next must be waited for.
func (p *Person) OTP(t testing.TB) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var step int64
	Until(t, 3*otpPeriod*time.Second, "the next time step of the authenticator app", func() bool {
		now := time.Now().Unix()
		// The step before is taken too, unless it may grow too old on its way.
		step = max(p.used+1, (now-otpPeriod+otpOnTheWay)/otpPeriod)
		return step <= now/otpPeriod+1
	})
	p.used = step
	code, err := hotp.GenerateCodeCustom(p.secret, uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// Login logs in with tsh, by password and code on standard input.
func (p *Person) Login(t testing.TB, flags ...string) Result {
	t.Helper()
	args := append([]string{"login", "--proxy=" + p.c.ProxyAddr(), "--user=" + p.Name, "--insecure"}, flags...)
	r := p.TshIn(p.Password+"\n"+p.OTP(t)+"\n", args...)
	r.OK(t)
	return r
}

// Tsh runs tsh as this person.
func (p *Person) Tsh(args ...string) Result { return p.TshIn("", args...) }

// TshIn runs tsh with a standard input.
func (p *Person) TshIn(stdin string, args ...string) Result {
	return p.Run(Command{Path: filepath.Join(p.c.bin, "tsh"), Args: args, Stdin: stdin})
}

// Tctl runs tctl with this person's log-in.
func (p *Person) Tctl(args ...string) Result {
	return p.Run(Command{Path: filepath.Join(p.c.bin, "tctl"), Args: args})
}

// Run runs any command in this person's environment, to which c.Env is added.
func (p *Person) Run(c Command) Result {
	c.Env = append(p.Env(), c.Env...)
	if c.Dir == "" {
		c.Dir = p.Home
	}
	return Run(c)
}

// Env is the environment of this person's commands; tsh and tctl are in its PATH.
func (p *Person) Env() []string {
	env := append(baseEnv(), "HOME="+p.Home, "TELEPORT_HOME="+filepath.Join(p.Home, ".tsh"), "SHELL=/bin/sh", "USER="+p.Name)
	env[0] = "PATH=" + p.c.bin + ":" + strings.TrimPrefix(env[0], "PATH=")
	return append(env, p.MoreEnv...)
}

// WebClient is an HTTP client that believes any certificate of the proxy, as a
// person does who clicks the warning away.
func WebClient() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // self-signed on purpose
}

func (p *Person) web(t testing.TB, method, path string, in, out any) {
	t.Helper()
	base := "https://" + p.c.ProxyAddr()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", base)
	resp, err := WebClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s: %s (%v)", method, path, resp.Status, b, err)
	}
	for _, cookie := range resp.Cookies() {
		p.c.Secret(cookie.Value, "session cookie")
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			t.Fatal(err)
		}
	}
}
