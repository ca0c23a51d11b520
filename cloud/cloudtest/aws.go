// Package cloudtest plays the identity services of clouds for tests: AWS's STS
// and instance metadata, Google's metadata, token and IAM services, Azure's
// metadata, login and resource manager. They hold real state and refuse what the
// real ones refuse: signatures, trust, issuers and audiences are verified, by
// code that signs nothing of ours.
package cloudtest

import (
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/fault"
	"teleport/sigv4wire"
)

// AgentARN is who the agent is: the role of its instance.
const AgentARN = "arn:aws:iam::123456789012:role/agent"

// AWSRole is a role that may be taken.
type AWSRole struct {
	Trusts     string // ARN of who may take it
	ExternalID string
}

// Principal is who signed.
type Principal struct {
	ARN     string // of the role
	Session string
	Tags    map[string]string
}

// awsKey is an access key that was handed out.
type awsKey struct {
	secret, token string
	who           Principal
	expires       time.Time
}

// AWS is the fake. Its methods are safe for concurrent use.
type AWS struct {
	STS, Metadata, Signin string // URLs
	mu                    sync.Mutex
	keys                  map[string]*awsKey
	roles                 map[string]AWSRole
	taken                 int
	sessions              []string             // of the metadata service
	entries               map[string]Principal // by token of the sign-in page
}

// NewAWS starts one that ends with the test.
func NewAWS(t testing.TB) *AWS {
	t.Helper()
	a := &AWS{keys: map[string]*awsKey{}, roles: map[string]AWSRole{}, entries: map[string]Principal{}}
	s := httptest.NewServer(http.HandlerFunc(a.sts))
	m := httptest.NewServer(http.HandlerFunc(a.metadata))
	t.Cleanup(s.Close)
	t.Cleanup(m.Close)
	f := httptest.NewServer(http.HandlerFunc(a.signin))
	t.Cleanup(f.Close)
	a.STS, a.Metadata, a.Signin = s.URL, m.URL, f.URL+"/federation"
	return a
}

// Environment is that of an agent on an instance of this cloud.
func (a *AWS) Environment(dir string) map[string]string {
	return map[string]string{"AWS_ENDPOINT_URL_STS": a.STS, "AWS_EC2_METADATA_SERVICE_ENDPOINT": a.Metadata, "AWS_EC2_METADATA_DISABLED": "false",
		"AWS_CONFIG_FILE": filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "credentials"),
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": ""}
}

// Use sets the environment of this process, for the test.
func (a *AWS) Use(t *testing.T) {
	t.Helper()
	for k, v := range a.Environment(t.TempDir()) {
		t.Setenv(k, v)
		if v == "" {
			if err := os.Unsetenv(k); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Role makes a role that may be taken.
func (a *AWS) Role(arn string, r AWSRole) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roles[arn] = r
}

// Taken is how often roles were taken.
func (a *AWS) Taken() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.taken
}

// key hands out a key. The caller holds a.mu.
func (a *AWS) key(who Principal, life time.Duration) (id string, k *awsKey) {
	k = &awsKey{secret: rand.Text(), token: rand.Text(), who: who, expires: time.Now().Add(life)}
	id = "ASIA" + rand.Text()[:16]
	a.keys[id] = k
	return id, k
}

// metadata is IMDSv2: no answer without a session token.
func (a *AWS) metadata(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	const credentials = "/latest/meta-data/iam/security-credentials/"
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") != "":
		token := rand.Text()
		a.sessions = append(a.sessions, token)
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		fmt.Fprint(w, token)
	case !slices.Contains(a.sessions, r.Header.Get("X-Aws-Ec2-Metadata-Token")):
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == credentials:
		fmt.Fprint(w, "agent")
	case r.URL.Path == credentials+"agent":
		id, k := a.key(Principal{ARN: AgentARN}, 6*time.Hour)
		_ = json.NewEncoder(w).Encode(map[string]any{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": id, "SecretAccessKey": k.secret,
			"Token": k.token, "LastUpdated": time.Now().UTC(), "Expiration": k.expires.UTC().Format(time.RFC3339)})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// sts is AssumeRole.
func (a *AWS) sts(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		return
	}
	who, err := a.Verify(r, body, "sts", "")
	form, ferr := url.ParseQuery(string(body))
	switch {
	case err != nil:
		stsError(w, http.StatusForbidden, "SignatureDoesNotMatch", err.Error())
		return
	case ferr != nil || form.Get("Action") != "AssumeRole" || form.Get("Version") != "2011-06-15":
		stsError(w, http.StatusBadRequest, "InvalidAction", "only AssumeRole")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	arn, session := form.Get("RoleArn"), form.Get("RoleSessionName")
	role, ok := a.roles[arn]
	if !ok || role.Trusts != who.ARN || role.ExternalID != form.Get("ExternalId") {
		stsError(w, http.StatusForbidden, "AccessDenied", who.ARN+" is not authorized to perform: sts:AssumeRole on resource: "+arn)
		return
	}
	life, err := strconv.Atoi(form.Get("DurationSeconds"))
	if len(session) < 2 || len(session) > 64 || err != nil || life < 900 || life > 3600 {
		stsError(w, http.StatusBadRequest, "ValidationError", "RoleSessionName or DurationSeconds")
		return
	}
	tags := map[string]string{}
	for i := 1; form.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		tags[form.Get(fmt.Sprintf("Tags.member.%d.Key", i))] = form.Get(fmt.Sprintf("Tags.member.%d.Value", i))
	}
	a.taken++
	id, k := a.key(Principal{ARN: arn, Session: session, Tags: tags}, time.Duration(life)*time.Second)
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId>`+
		`<SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		id, k.secret, k.token, k.expires.UTC().Format(time.RFC3339))
}

// signin is the federation endpoint of the console: it gives tokens for credentials
// of roles, and lets browsers in by them, once.
func (a *AWS) signin(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := r.URL.Query()
	switch q.Get("Action") {
	case "getSigninToken":
		var s struct{ SessionID, SessionKey, SessionToken string }
		err := json.Unmarshal([]byte(q.Get("Session")), &s)
		k := a.keys[s.SessionID]
		// What one role has got by another may not say how long.
		if err != nil || k == nil || k.secret != s.SessionKey || k.token != s.SessionToken || k.who.Session == "" || q.Has("SessionDuration") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		token := rand.Text()
		a.entries[token] = k.who
		writeJSON(w, map[string]string{"SigninToken": token})
	case "login":
		who, ok := a.entries[q.Get("SigninToken")]
		delete(a.entries, q.Get("SigninToken"))
		if !ok || r.Header.Get("Referer") != "" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, "console of %s as %s at %s", who.ARN, who.Session, q.Get("Destination"))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func stsError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>`, code)
	_ = xml.EscapeText(w, []byte(message))
	fmt.Fprint(w, `</Message></Error></ErrorResponse>`)
}

// Verify checks the signature of a request as a service of AWS does, with the
// keys that were handed out. region "" is any.
func (a *AWS) Verify(r *http.Request, body []byte, service, region string) (Principal, error) {
	req := &sigv4wire.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header, Body: body}
	s, err := sigv4wire.Read(req)
	if err != nil {
		return Principal{}, err
	}
	k, err := a.find(s, service, region)
	if err != nil {
		return Principal{}, err
	}
	_, err = sigv4wire.Verify(req, k.secret, time.Now())
	return k.who, err
}

// VerifyLogin checks the password of a login to RDS: address is what the database
// is called, and host:port of the token.
func (a *AWS) VerifyLogin(password, address, user, region string) (Principal, error) {
	return a.verifyLogin("rds-db", "DBUser", password, address, user, region)
}

// VerifyCacheLogin checks the password of a login to ElastiCache or MemoryDB: name
// is what the cache or the cluster is called, and the host of the token.
func (a *AWS) VerifyCacheLogin(service, password, name, user, region string) (Principal, error) {
	return a.verifyLogin(service, "User", password, name, user, region)
}

func (a *AWS) verifyLogin(service, field, password, address, user, region string) (Principal, error) {
	host, target, ok := strings.Cut(password, "/")
	u, err := url.ParseRequestURI("/" + target)
	if !ok || err != nil || host != address || u.Query().Get("Action") != "connect" || u.Query().Get(field) != user {
		return Principal{}, fault.New(fault.Unauthenticated, "PAM authentication failed for user %q", user)
	}
	req := &sigv4wire.Request{Method: http.MethodGet, Target: "/" + target, Host: host}
	s, err := sigv4wire.ReadPresigned(req)
	if err != nil {
		return Principal{}, err
	}
	if s.Expires > 15*time.Minute {
		return Principal{}, fault.New(fault.Unauthenticated, "the token lives too long")
	}
	k, err := a.find(s, service, region)
	if err != nil {
		return Principal{}, err
	}
	_, err = sigv4wire.VerifyPresigned(req, k.secret, time.Now())
	return k.who, err
}

func (a *AWS) find(s *sigv4wire.Signed, service, region string) (*awsKey, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.keys[s.AccessKey]
	switch {
	case k == nil || k.token != s.Token || time.Now().After(k.expires):
		return nil, fault.New(fault.Unauthenticated, "the security token is not valid")
	case s.Service != service || region != "" && s.Region != region:
		return nil, fault.New(fault.Unauthenticated, "signed for %s in %s", s.Service, s.Region)
	}
	return k, nil
}
