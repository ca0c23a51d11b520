package awscloud

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"teleport/cloud/cloudtest"
	"teleport/fault"
)

const (
	readerARN = "arn:aws:iam::210987654321:role/reader"
	hopARN    = "arn:aws:iam::210987654321:role/hop"
	region    = "eu-west-1"
)

// world is an agent on an instance that may take reader, and hop with an external
// id, which may take reader too.
func world(t *testing.T) (*cloudtest.AWS, *Cloud) {
	t.Helper()
	a := cloudtest.NewAWS(t)
	a.Use(t)
	a.Role(readerARN, cloudtest.AWSRole{Trusts: cloudtest.AgentARN})
	a.Role(hopARN, cloudtest.AWSRole{Trusts: cloudtest.AgentARN, ExternalID: "tenant-7"})
	a.Role(readerARN+"-2", cloudtest.AWSRole{Trusts: hopARN})
	c := &Cloud{}
	t.Cleanup(c.Wait)
	return a, c
}

func TestLoginToCaches(t *testing.T) {
	a, c := world(t)
	for service, other := range map[string]string{ServiceElastiCache: ServiceMemoryDB, ServiceMemoryDB: ServiceElastiCache} {
		token, err := c.SignDatabaseLogin(t.Context(), DatabaseLogin{Service: service, Address: "shop-cache", User: "alice", Region: region})
		if err != nil {
			t.Fatal(err)
		}
		if who, err := a.VerifyCacheLogin(service, token, "shop-cache", "alice", region); err != nil || who.ARN != cloudtest.AgentARN {
			t.Errorf("%s: %+v, %v", service, who, err)
		}
		for what, bad := range map[string][4]string{"service": {other, "shop-cache", "alice", region}, "cache": {service, "other-cache", "alice", region},
			"user": {service, "shop-cache", "bob", region}, "region": {service, "shop-cache", "alice", "us-east-1"}} {
			if _, err := a.VerifyCacheLogin(bad[0], token, bad[1], bad[2], bad[3]); err == nil {
				t.Errorf("%s: taken for another %s", service, what)
			}
		}
	}
}

func TestLoginToRDS(t *testing.T) {
	a, c := world(t)
	const address = "shop.abc.eu-west-1.rds.amazonaws.com:5432"
	l := DatabaseLogin{Service: ServiceRDS, Address: address, User: "ali ce+ü", Region: region, Until: time.Now().Add(time.Hour)}
	for name, chain := range map[string][]Role{
		cloudtest.AgentARN: nil,
		readerARN:          {{ARN: readerARN, SessionName: "alice"}},
		readerARN + "-2":   {{ARN: hopARN, SessionName: "alice", ExternalID: "tenant-7"}, {ARN: readerARN + "-2", SessionName: "alice"}},
	} {
		token, err := c.SignDatabaseLogin(t.Context(), l, chain...)
		if err != nil {
			t.Fatal(err)
		}
		who, err := a.VerifyLogin(token, address, l.User, region)
		if err != nil || who.ARN != name {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
		for what, bad := range map[string]func() error{
			"user": func() error { _, err := a.VerifyLogin(token, address, "bob", region); return err },
			"host": func() error {
				_, err := a.VerifyLogin(token, "other.abc.eu-west-1.rds.amazonaws.com:5432", l.User, region)
				return err
			},
			"port": func() error {
				_, err := a.VerifyLogin(token, "shop.abc.eu-west-1.rds.amazonaws.com:3306", l.User, region)
				return err
			},
			"region": func() error { _, err := a.VerifyLogin(token, address, l.User, "us-east-1"); return err },
			"bytes": func() error {
				_, err := a.VerifyLogin(strings.Replace(token, "DBUser=ali", "DBUser=Ali", 1), address, strings.Replace(l.User, "ali", "Ali", 1), region)
				return err
			},
		} {
			if bad() == nil {
				t.Errorf("%s: taken for another %s", name, what)
			}
		}
	}
	l.Until = time.Now()
	if _, err := c.SignDatabaseLogin(t.Context(), l); !errors.Is(err, fault.Denied) {
		t.Errorf("after the end of the person's certificate: %v", err)
	}
	l.Until = time.Now().Add(2 * time.Minute)
	token, err := c.SignDatabaseLogin(t.Context(), l)
	if err != nil || !strings.Contains(token, "X-Amz-Expires=11") {
		t.Errorf("it outlives the person's certificate: %q, %v", token, err)
	}
}

func TestRolesAreTakenOnce(t *testing.T) {
	a, c := world(t)
	alice, bob := Role{ARN: readerARN, SessionName: "alice", Tags: map[string]string{"team": "a"}}, Role{ARN: readerARN, SessionName: "bob"}
	for range 5 {
		for _, r := range []Role{alice, bob} {
			if _, err := c.Credentials(t.Context(), region, r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := a.Taken(); n != 2 {
		t.Errorf("roles were taken %d times, not once for each person", n)
	}
}

func TestRolesThatMayNotBeTaken(t *testing.T) {
	_, c := world(t)
	for name, r := range map[string]Role{
		"unknown":             {ARN: readerARN + "x", SessionName: "alice"},
		"no external id":      {ARN: hopARN, SessionName: "alice"},
		"another external id": {ARN: hopARN, SessionName: "alice", ExternalID: "tenant-8"},
		"another partition":   {ARN: strings.Replace(readerARN, "arn:aws:", "arn:aws-cn:", 1), SessionName: "alice"},
	} {
		_, err := c.Credentials(t.Context(), region, r)
		if !errors.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Credentials(t.Context(), "cn-north-1", Role{ARN: readerARN, SessionName: "alice"}); !errors.Is(err, fault.Denied) {
		t.Errorf("a role of another partition than the region's: %v", err)
	}
}

func TestNoCredentials(t *testing.T) {
	_, c := world(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_, err := c.Credentials(t.Context(), region)
	if !errors.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
}

// TestRequestsAreSigned sends a signed request to a service that verifies it.
func TestRequestsAreSigned(t *testing.T) {
	a, c := world(t)
	got := make(chan cloudtest.Principal, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		who, err := a.Verify(r, body, "dynamodb", region)
		if err != nil {
			t.Error(err)
		}
		got <- who
	}))
	defer s.Close()
	body := []byte(`{"TableName":"t"}`)
	r, err := http.NewRequest(http.MethodPost, s.URL+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810.DescribeTable")
	role := Role{ARN: readerARN, SessionName: SessionName("alice"), Tags: map[string]string{"team": "a", "cost": "7"}}
	if err := c.Sign(t.Context(), r, sha256.Sum256(body), "dynamodb", region, role); err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if who := <-got; who.ARN != readerARN || who.Session != "alice" || who.Tags["team"] != "a" || who.Tags["cost"] != "7" {
		t.Errorf("got %+v", who)
	}
}

func TestSessionName(t *testing.T) {
	for user, want := range map[string]string{"alice": "alice", "al.ice@example.com": "al.ice@example.com", "a/b": "a-b-", "é": "--", "x": "x-",
		strings.Repeat("x", 80): strings.Repeat("x", 57) + "-"} {
		got := SessionName(user)
		if !strings.HasPrefix(got, want) || got != user && len(got) < len(want)+6 || len(got) > 64 || len(got) < 2 {
			t.Errorf("%q: %q", user, got)
		}
	}
	if SessionName("a/b") == SessionName("a:b") {
		t.Error("two people share a name")
	}
}
