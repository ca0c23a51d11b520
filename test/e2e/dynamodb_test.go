package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"teleport/cloud/cloudtest"
	"teleport/test/cluster"
)

const readerRole = "arn:aws:iam::210987654321:role/orders-reader"

// cloudShop is a cluster whose agent is in a cloud and fronts a DynamoDB there,
// which verifies what the agent signs. An emulator (DYNAMODB_EMULATOR=URL) may keep
// its tables.
type cloudShop struct {
	*cluster.Cluster
	dynamo *cloudtest.DynamoDB
	alice  *cluster.Person
}

func newCloudShop(t *testing.T) *cloudShop {
	t.Helper()
	aws := cloudtest.NewAWS(t)
	aws.Role(readerRole, cloudtest.AWSRole{Trusts: cloudtest.AgentARN})
	s := &cloudShop{dynamo: cloudtest.NewDynamoDB(t, aws, "eu-west-1")}
	s.dynamo.Emulator = os.Getenv("DYNAMODB_EMULATOR")
	var env []string
	for k, v := range aws.Environment(t.TempDir()) {
		if v != "" {
			env = append(env, k+"="+v)
		}
	}
	s.Cluster = cluster.New(t, cluster.Opts{Env: env})
	token := s.Token(t, "db")
	s.AddAgent(t, "db-1", func(d cluster.Doc) {
		d.Set("ssh_service.enabled", false).Set("db_service.enabled", true)
		d.Set("teleport.join_params.token_name", token)
		d.Set("db_service.databases", []any{map[string]any{"name": "orders-cloud", "protocol": "dynamodb", "uri": s.dynamo.URL,
			"tls": map[string]any{"ca_cert_file": write(t, t.TempDir()+"/ca.pem", s.dynamo.CA())}, "static_labels": map[string]any{"env": "test"},
			"aws": map[string]any{"region": "eu-west-1", "account_id": "210987654321"}}})
	})
	s.TctlIn(strings.NewReplacer("[alice]", "[orders-reader]", "db_names: [orders, copy]", "db_names: []").Replace(shopRole), "create", "-f").OK(t)
	s.alice = s.User(t, "alice", []string{"shop"}, nil)
	s.alice.Login(t)
	cluster.Until(t, within, "the database in tsh db ls", func() bool { return strings.Contains(s.alice.Tsh("db", "ls").Stdout, "orders-cloud") })
	return s
}

// TestTheAWSCommandReachesDynamoDB does what the guide says, with no key of the
// cloud on the person's machine.
func TestTheAWSCommandReachesDynamoDB(t *testing.T) {
	t.Parallel()
	s := newCloudShop(t)
	aws := func(args ...string) cluster.Result {
		return s.alice.Tsh(append([]string{"db", "connect", "orders-cloud", "--db-user=orders-reader", "--", "dynamodb", "--no-cli-pager"}, args...)...)
	}
	cluster.Need(t, "/usr/bin/aws", "awscli")
	s.alice.MoreEnv = append(s.alice.MoreEnv, "PATH=/usr/bin:/bin", "AWS_PROFILE=none", "AWS_SESSION_TOKEN=of-something-else", "AWS_EC2_METADATA_DISABLED=true")
	aws("create-table", "--table-name", "sessions", "--attribute-definitions", "AttributeName=id,AttributeType=S", "--key-schema", "AttributeName=id,KeyType=HASH",
		"--billing-mode", "PAY_PER_REQUEST").OK(t)
	cluster.Until(t, within, "the table", func() bool {
		return strings.Contains(aws("describe-table", "--table-name", "sessions").Stdout, "ACTIVE")
	})
	aws("put-item", "--table-name", "sessions", "--item", `{"id":{"S":"7"},"name":{"S":"seven"}}`).OK(t)
	contains(t, aws("get-item", "--table-name", "sessions", "--key", `{"id":{"S":"7"}}`).OK(t), "seven")
	contains(t, aws("scan", "--table-name", "sessions").OK(t), `"Count": 1`)
	contains(t, aws("list-tables").OK(t), "sessions")
	for name, c := range map[string]struct {
		r    cluster.Result
		want string
	}{
		"no such table":  {aws("scan", "--table-name", "nothing"), "ResourceNotFoundException"},
		"another region": {aws("list-tables", "--region", "us-east-1"), "AWS_REGION=eu-west-1"},
		"another role":   {s.alice.Tsh("db", "connect", "orders-cloud", "--db-user=admin", "--", "dynamodb", "list-tables"), "no role that matches it has admin in db_users"},
		"its ARN":        {s.alice.Tsh("db", "connect", "orders-cloud", "--db-user=arn:aws:iam::210987654321:role/admin", "--", "dynamodb", "list-tables"), "in db_users"},
		"nothing at all": {s.alice.Tsh("db", "connect", "orders-cloud", "--db-user=orders-reader"), "-- dynamodb list-tables"},
	} {
		if c.r.Code == 0 || !strings.Contains(c.r.Stderr+c.r.Stdout, c.want) {
			t.Errorf("%s: %d %s%s", name, c.r.Code, c.r.Stdout, c.r.Stderr)
		}
	}
	log := ""
	cluster.Until(t, within, "the refused request in the audit log", func() bool { // which the agent ships in its own time
		log = s.Tctl("audit", "search", "db.session.dynamodb.request", "--format=json").OK(t)
		return strings.Contains(log, "ResourceNotFoundException")
	})
	contains(t, log, `"PutItem"`, `"sessions"`, `"TDY01I"`, `"TDY01E"`)
	if strings.Contains(log, "of-something-else") {
		t.Error("the log holds a token")
	}
}

// TestTheTunnelOfDynamoDB opens tsh proxy db and pastes what it prints.
func TestTheTunnelOfDynamoDB(t *testing.T) {
	t.Parallel()
	s := newCloudShop(t)
	port := cluster.FreePort(t)
	live := s.alice.StartTsh(t, "proxy", "db", "orders-cloud", "--tunnel", "--db-user=orders-reader", "--port="+port)
	live.WaitFor(t, "list-tables")
	said := live.Out.String()
	var env []string
	for _, m := range regexp.MustCompile(`(?m)^  export (\S+)$`).FindAllStringSubmatch(said, -1) {
		env = append(env, m[1])
	}
	command := strings.Fields(regexp.MustCompile(`(?m)^  aws (.*)$`).FindStringSubmatch(said)[1])
	aws := cluster.Need(t, "/usr/bin/aws", "awscli")
	r := s.alice.Run(cluster.Command{Path: aws, Args: command, Env: append(env, "AWS_EC2_METADATA_DISABLED=true")})
	contains(t, r.OK(t), "TableNames")
	for name, bad := range map[string]string{"another secret": "AWS_SECRET_ACCESS_KEY=own", "another key": "AWS_ACCESS_KEY_ID=own"} {
		r := s.alice.Run(cluster.Command{Path: aws, Args: command, Env: append(append([]string{"AWS_EC2_METADATA_DISABLED=true"}, env...), bad)})
		if r.Code == 0 || !strings.Contains(r.Stderr, "AccessDeniedException") {
			t.Errorf("%s: %d %s", name, r.Code, r.Stderr)
		}
	}
	if r, _ := s.dynamo.Seen(); len(r) != 1 {
		t.Errorf("%d requests went through", len(r))
	}
}
