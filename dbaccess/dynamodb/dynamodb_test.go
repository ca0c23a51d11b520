package dynamodb_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"teleport/cert/certtest"
	"teleport/cloud/awscloud"
	"teleport/cloud/cloudtest"
	"teleport/dbaccess"
	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/dynamodb"
	"teleport/dbaccess/dynamodb/dynamowire"
	"teleport/types"
	"teleport/types/event"
)

const (
	region    = "eu-west-1"
	account   = "210987654321"
	readerARN = "arn:aws:iam::" + account + ":role/reader"
	hopARN    = "arn:aws:iam::" + account + ":role/hop"
)

// noPassword is how an agent logs in that signs each request.
type noPassword struct{}

func (noPassword) Certificate(context.Context, dbaccess.Login) (*tls.Certificate, error) {
	return nil, nil
}
func (noPassword) Password(context.Context, dbaccess.Login) (string, error) { return "", nil }
func (noPassword) Authorities() []byte                                      { return nil }

func spec(d *cloudtest.DynamoDB, cloud types.DatabaseAWS) types.DatabaseSpec {
	cloud.Region = region
	return types.DatabaseSpec{Protocol: "dynamodb", URI: d.URL, TLS: types.DatabaseTLS{CACert: d.CA()}, AWS: &cloud}
}

// world is an agent before that table, whose users may be reader.
func world(t *testing.T, cloud types.DatabaseAWS) (*dbtest.World, *cloudtest.AWS, *cloudtest.DynamoDB) {
	t.Helper()
	a := cloudtest.NewAWS(t)
	a.Use(t)
	a.Role(readerARN, cloudtest.AWSRole{Trusts: cloudtest.AgentARN})
	d := cloudtest.NewDynamoDB(t, a, region)
	w := dbtest.New(t, dynamodb.Engine{Signer: &awscloud.Cloud{}}, spec(d, cloud), func(*certtest.World) dbaccess.Credentials { return noPassword{} })
	w.Role(func(r *types.RoleSpec) { r.Allow.DBUsers = []string{"reader"} })
	return w, a, d
}

// client is an SDK whose keys mean nothing to anybody.
func client(addr net.Addr, in string) *ddb.Client {
	return ddb.New(ddb.Options{Region: in, BaseEndpoint: aws.String("http://" + addr.String()), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("own", "own", "")})
}

// seen is how many requests went through.
func seen(d *cloudtest.DynamoDB) int {
	r, _ := d.Seen()
	return len(r)
}

func put(t *testing.T, c *ddb.Client, table, id string) error {
	t.Helper()
	_, err := c.PutItem(t.Context(), &ddb.PutItemInput{TableName: &table, Item: map[string]ddbtypes.AttributeValue{
		"id": &ddbtypes.AttributeValueMemberS{Value: id}, "name": &ddbtypes.AttributeValueMemberS{Value: "name of " + id}}})
	return err
}

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestAnSDKWorksThroughTheAgent(t *testing.T) {
	w, _, d := world(t, types.DatabaseAWS{AccountID: account, SessionTags: map[string]string{"team": "shop"}})
	c := client(w.Listen("alice", types.DatabaseRoute{User: "reader"}), region)
	if err := put(t, c, "orders", "7"); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetItem(t.Context(), &ddb.GetItemInput{TableName: aws.String("orders"), Key: map[string]ddbtypes.AttributeValue{"id": &ddbtypes.AttributeValueMemberS{Value: "7"}}})
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := got.Item["name"].(*ddbtypes.AttributeValueMemberS); !ok || name.Value != "name of 7" {
		t.Errorf("got %+v", got.Item)
	}
	if err := put(t, c, "others", "7"); codeOf(err) != "ResourceNotFoundException" {
		t.Errorf("an error of the database: %v", err)
	}
	requests, signers := d.Seen()
	for _, who := range signers {
		if who.ARN != readerARN || who.Session != "alice" || who.Tags["team"] != "shop" {
			t.Errorf("signed as %+v", who)
		}
	}
	for _, r := range requests {
		for name := range r.Header {
			if !slices.Contains([]string{"Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Target"}, name) {
				t.Errorf("the header %s went through", name)
			}
		}
	}
	w.Await(func() bool { return len(w.Log.Events(event.TypeDynamoDBRequest)) == 4 })
	var told []string
	for _, e := range w.Log.Events() {
		switch e := e.(type) {
		case *event.DynamoDBRequest:
			told = append(told, fmt.Sprintf("%s %s %v %s %s %d %s", e.Code, e.Operation, e.Tables, e.Service, e.Region, e.StatusCode, e.ErrorCode))
			if e.DBUser != "reader" || e.User.User != "alice" || e.Type != "db.session.dynamodb.request" || !strings.Contains(e.Text, `"TableName"`) || strings.Contains(e.Text, "name of") {
				t.Errorf("got %+v", e)
			}
		case *event.DBResult:
			told = append(told, e.Code+" "+e.Command)
		case *event.DBStart:
			told = append(told, e.Meta.Code)
		}
	}
	want := []string{"TDB00I", "TDY01I PutItem [orders] dynamodb eu-west-1 0 ", " PutItem", "TDY01I GetItem [orders] dynamodb eu-west-1 0 ", " GetItem",
		"TDY01I PutItem [others] dynamodb eu-west-1 0 ", "TDY01E PutItem [others] dynamodb eu-west-1 400 ResourceNotFoundException"}
	if !slices.Equal(told, want) {
		t.Errorf("the audit log has\n%s", strings.Join(told, "\n"))
	}
}

// TestBodiesAreToldAsRolesSay: values of attributes are parameters.
func TestBodiesAreToldAsRolesSay(t *testing.T) {
	for level, want := range map[string]string{
		"":                       `{"Item":{"id":"***","name":"***"},"TableName":"orders"}`,
		types.DBParametersNone:   `{"Item":{"id":"***","name":"***"},"TableName":"orders"}`,
		types.DBParametersTypes:  `{"Item":{"id":{"S":"***"},"name":{"S":"***"}},"TableName":"orders"}`,
		types.DBParametersValues: `"name":{"S":"name of 7"}`, // as it came: in any order
	} {
		w, _, d := world(t, types.DatabaseAWS{AccountID: account})
		w.Role(func(r *types.RoleSpec) {
			r.Allow.DBUsers, r.Options.RecordDBParameters = []string{"reader"}, level
		})
		addr := w.Listen("alice", types.DatabaseRoute{User: "reader"})
		if err := put(t, client(addr, region), "orders", "7"); err != nil {
			t.Fatal(err)
		}
		if sent, _ := d.Seen(); len(sent) != 1 {
			t.Errorf("%q: %d requests", level, len(sent))
		}
		raw(t, addr, func(*http.Request) {}, []byte(`{"secret": "in broken JSON`))
		w.Await(func() bool { return len(w.Log.Events(event.TypeDynamoDBRequest)) == 2 })
		events := w.Log.Events(event.TypeDynamoDBRequest)
		if e := events[0].(*event.DynamoDBRequest); !strings.Contains(e.Text, want) {
			t.Errorf("%q: told as %s", level, e.Text)
		}
		if e := events[1].(*event.DynamoDBRequest); strings.Contains(e.Text, "secret") != (level == types.DBParametersValues) || level != types.DBParametersValues && (e.Bytes != 26 || len(e.SHA256) != 64) {
			t.Errorf("%q: what is no JSON is told as %+v", level, e.Statement)
		}
	}
}

func TestRolesAreTakenOneWithTheOther(t *testing.T) {
	w, a, d := world(t, types.DatabaseAWS{AccountID: account, AssumeRoleARN: hopARN, ExternalID: "tenant-7"})
	a.Role(hopARN, cloudtest.AWSRole{Trusts: cloudtest.AgentARN, ExternalID: "tenant-7"})
	a.Role(readerARN, cloudtest.AWSRole{Trusts: hopARN})
	c := client(w.Listen("alice", types.DatabaseRoute{User: readerARN}), region)
	if err := put(t, c, "orders", "7"); err != nil {
		t.Fatal(err)
	}
	if _, who := d.Seen(); len(who) != 1 || who[0].ARN != readerARN {
		t.Errorf("signed as %+v", who)
	}
}

func TestRefusalsInAWSsForm(t *testing.T) {
	w, a, d := world(t, types.DatabaseAWS{AccountID: account})
	for name, c := range map[string]struct {
		route  types.DatabaseRoute
		region string
		says   string
	}{
		"a role that no role lists":  {types.DatabaseRoute{User: "admin"}, region, "db_users"},
		"its ARN":                    {types.DatabaseRoute{User: "arn:aws:iam::" + account + ":role/admin"}, region, "db_users"},
		"a namesake elsewhere":       {types.DatabaseRoute{User: "arn:aws:iam::123456789012:role/reader"}, region, "db_users"},
		"no role at all":             {types.DatabaseRoute{}, region, "no database user"},
		"a client in another region": {types.DatabaseRoute{User: "reader"}, "us-east-1", "AWS_REGION=eu-west-1"},
	} {
		err := put(t, client(w.Listen("alice", c.route), c.region), "orders", "1")
		if codeOf(err) != "AccessDeniedException" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.Role(readerARN, cloudtest.AWSRole{Trusts: "arn:aws:iam::123456789012:role/other"})
	err := put(t, client(w.Listen("alice", types.DatabaseRoute{User: "reader"}), region), "orders", "1")
	if codeOf(err) != "AccessDeniedException" || !strings.Contains(err.Error(), "must trust") {
		t.Errorf("a role that does not trust the agent: %v", err)
	}
	if seen(d) != 0 {
		t.Errorf("%d requests went through", seen(d))
	}
}

// raw sends what no SDK would.
func raw(t *testing.T, addr net.Addr, edit func(*http.Request), body []byte) (status int, text string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://"+addr.String()+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810.GetItem")
	edit(r)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("X-Secret") != "" {
		t.Error("a header of the service went through")
	}
	return resp.StatusCode, string(b)
}

func TestWhatIsNotUnderstoodGoesNowhere(t *testing.T) {
	w, _, d := world(t, types.DatabaseAWS{AccountID: account})
	addr := w.Listen("alice", types.DatabaseRoute{User: "reader"})
	key := []byte(`{"TableName":"orders","Key":{"id":{"S":"7"}}}`)
	for name, c := range map[string]struct {
		edit func(*http.Request)
		body []byte
		code string
	}{
		"another method":     {func(r *http.Request) { r.Method = http.MethodPut }, key, "UnknownOperation"},
		"a path":             {func(r *http.Request) { r.URL.Path = "/x" }, key, "UnknownOperation"},
		"a query":            {func(r *http.Request) { r.URL.RawQuery = "Action=x" }, key, "UnknownOperation"},
		"no operation":       {func(r *http.Request) { r.Header.Del("X-Amz-Target") }, key, "Validation"},
		"two operations":     {func(r *http.Request) { r.Header.Add("X-Amz-Target", "DynamoDB_20120810.DeleteTable") }, key, "Validation"},
		"unknown operation":  {func(r *http.Request) { r.Header.Set("X-Amz-Target", "DynamoDB_20120810.Nuke") }, key, "UnknownOperation"},
		"another encoding":   {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, key, "UnknownOperation"},
		"another type":       {func(r *http.Request) { r.Header.Set("Content-Type", "application/cbor") }, key, "Validation"},
		"no JSON":            {func(*http.Request) {}, []byte(`{"TableName":`), "Validation"},
		"two tables at once": {func(*http.Request) {}, []byte(`{"TableName":"a","TableName":"orders"}`), "Validation"},
		"a long body":        {func(*http.Request) {}, bytes.Repeat([]byte(" "), dynamowire.MaxBody+1), "Validation"},
		"a broken signature": {func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x") }, key, "AccessDenied"},
		"another service": {func(r *http.Request) {
			r.Header.Set("X-Amz-Date", "20261128T101112Z")
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/20261128/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature="+strings.Repeat("00", 32))
		}, key, "AccessDenied"},
	} {
		before := len(w.Log.Events(event.TypeDynamoDBRequest))
		status, text := raw(t, addr, c.edit, c.body)
		if status != http.StatusBadRequest || !strings.Contains(text, c.code) {
			t.Errorf("%s: %d %s", name, status, text)
		}
		told := w.Log.Events(event.TypeDynamoDBRequest)
		if len(told) != before+1 || told[before].EventMeta().Code != event.CodeDynamoDBRequestFail {
			t.Errorf("%s: the audit log was told %d times", name, len(told)-before)
		}
	}
	if seen(d) != 0 {
		t.Errorf("%d requests went through", seen(d))
	}
	// A host, a forwarding header or a token of the client's lead nowhere else.
	status, text := raw(t, addr, func(r *http.Request) {
		r.Host = "dynamodb.us-east-1.amazonaws.com"
		for _, h := range []string{"X-Forwarded-Host", "X-Forwarded-For", "X-Amz-Security-Token", "X-Amz-Expected-Bucket-Owner", "Connection"} {
			r.Header.Set(h, "x")
		}
	}, key)
	requests, _ := d.Seen()
	if status != http.StatusOK || len(requests) != 1 || requests[0].Host != strings.TrimPrefix(d.URL, "https://") || requests[0].Header.Get("X-Forwarded-Host") != "" {
		t.Errorf("%d %s", status, text)
	}
}

func TestNothingGoesOnBeforeItsEvent(t *testing.T) {
	w, _, d := world(t, types.DatabaseAWS{AccountID: account})
	addr := w.Listen("alice", types.DatabaseRoute{User: "reader"})
	if err := put(t, client(addr, region), "orders", "1"); err != nil {
		t.Fatal(err)
	}
	w.Log.Break(errors.New("the disk is full"))
	if err := put(t, client(addr, region), "orders", "2"); codeOf(err) != "ServiceUnavailable" {
		t.Errorf("got %v", err)
	}
	if seen(d) != 1 {
		t.Errorf("%d requests went through", seen(d))
	}
}

func TestALockCutsARequest(t *testing.T) {
	w, _, d := world(t, types.DatabaseAWS{AccountID: account})
	addr := w.Listen("alice", types.DatabaseRoute{User: "reader"})
	d.Hold = make(chan struct{})
	t.Cleanup(func() { close(d.Hold) })
	ended := make(chan error, 1)
	go func() { ended <- put(t, client(addr, region), "orders", "1") }()
	<-d.Held
	l := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}, Message: "gone fishing"}}
	l.Metadata.Name = "l"
	w.Policy.Change(func() { w.Policy.LockList = append(w.Policy.LockList, l) })
	if err := <-ended; codeOf(err) != "AccessDeniedException" || !strings.Contains(err.Error(), "gone fishing") {
		t.Errorf("got %v", err)
	}
	w.Await(func() bool {
		told := w.Log.Events(event.TypeDynamoDBRequest)
		return len(told) == 2 && told[1].EventMeta().Code == event.CodeDynamoDBRequestFail
	})
}

func TestADatabaseThatIsNotThere(t *testing.T) {
	w, a, d := world(t, types.DatabaseAWS{AccountID: account})
	addr := w.Listen("alice", types.DatabaseRoute{User: "reader"})
	d.Close()
	if err := put(t, client(addr, region), "orders", "1"); codeOf(err) != "ServiceUnavailable" {
		t.Errorf("got %v", err)
	}
	w.Doc.Spec.TLS.CACert = ""
	d2 := cloudtest.NewDynamoDB(t, a, region)
	w.Doc.Spec.URI = d2.URL
	err := put(t, client(w.Listen("alice", types.DatabaseRoute{User: "reader"}), region), "orders", "1")
	if !strings.Contains(fmt.Sprint(err), "certificate") || seen(d2) != 0 {
		t.Errorf("a certificate of nobody: %v", err)
	}
}
