package cloudlogin

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"teleport/cloud/awscloud"
	"teleport/cloud/azurecloud"
	"teleport/cloud/cloudtest"
	"teleport/cloud/gcpcloud"
	"teleport/dbaccess"
	"teleport/fault"
	"teleport/types"
)

// world is an agent with an identity in each cloud.
type world struct {
	*Clouds
	aws    *cloudtest.AWS
	google *cloudtest.Google
	azure  *cloudtest.Azure
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{aws: cloudtest.NewAWS(t), google: cloudtest.NewGoogle(t), azure: cloudtest.NewAzure(t)}
	w.aws.Use(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("GCE_METADATA_HOST", w.google.MetadataHost())
	w.Clouds = &Clouds{AWS: &awscloud.Cloud{}, Google: gcpcloud.New(gcpcloud.Options{Endpoint: w.google.URL}),
		Azure: azurecloud.New(azurecloud.Options{Metadata: w.azure.URL, Transport: w.azure, Getenv: func(string) string { return "" }})}
	return w
}

func login(t *testing.T, user string, spec types.DatabaseSpec) dbaccess.Login {
	t.Helper()
	d := &types.Database{Spec: spec}
	d.Metadata.Name = "shop"
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	return dbaccess.Login{Database: d, User: user, Identity: &types.Identity{Name: "alice"}, Certificate: &x509.Certificate{NotAfter: time.Now().Add(time.Hour)}}
}

const roleARN = "arn:aws:iam::210987654321:role/databases"

func TestEachDatabaseGetsItsToken(t *testing.T) {
	w := newWorld(t)
	w.aws.Role(roleARN, cloudtest.AWSRole{Trusts: cloudtest.AgentARN, ExternalID: "x7"})
	w.google.Grant(cloudtest.GoogleAgent, "orders@project-1.iam.gserviceaccount.com")
	w.azure.Assign("orders", "c1")
	rds := func(address, region, arn string) func(string) error {
		return func(token string) error {
			who, err := w.aws.VerifyLogin(token, address, "orders", region)
			if err == nil && (who.ARN != arn || who.Session != "" && who.Session != "alice") {
				t.Errorf("signed as %+v", who)
			}
			return err
		}
	}
	google := func(token string) error {
		if w.google.Account(token, gcpcloud.ScopeSQLLogin) != "orders@project-1.iam.gserviceaccount.com" {
			return errors.New("of another account")
		}
		return nil
	}
	azure := func(audience string) func(string) error {
		return func(token string) error {
			who, err := w.azure.Client(token, audience)
			if err == nil && who != "c1" {
				err = errors.New("of another identity: " + who)
			}
			return err
		}
	}
	none := func(token string) error {
		if token != "" {
			return errors.New("a token for whoever asks")
		}
		return nil
	}
	gcp := &types.DatabaseGCP{ProjectID: "project-1", InstanceID: "i"}
	for name, c := range map[string]struct {
		user  string
		spec  types.DatabaseSpec
		check func(token string) error
	}{
		"rds":                     {"orders", types.DatabaseSpec{Protocol: "postgres", URI: "shop.abc.eu-west-1.rds.amazonaws.com:5432"}, rds("shop.abc.eu-west-1.rds.amazonaws.com:5432", "eu-west-1", cloudtest.AgentARN)},
		"rds, no port":            {"orders", types.DatabaseSpec{Protocol: "mysql", URI: "shop.abc.eu-west-1.rds.amazonaws.com"}, rds("shop.abc.eu-west-1.rds.amazonaws.com:3306", "eu-west-1", cloudtest.AgentARN)},
		"rds in China":            {"orders", types.DatabaseSpec{Protocol: "postgres", URI: "shop.abc.rds.cn-north-1.amazonaws.com.cn:5432"}, rds("shop.abc.rds.cn-north-1.amazonaws.com.cn:5432", "cn-north-1", cloudtest.AgentARN)},
		"rds by a role":           {"orders", types.DatabaseSpec{Protocol: "postgres", URI: "shop.cluster-abc.us-east-1.rds.amazonaws.com:5432", AWS: &types.DatabaseAWS{AssumeRoleARN: roleARN, ExternalID: "x7"}}, rds("shop.cluster-abc.us-east-1.rds.amazonaws.com:5432", "us-east-1", roleARN)},
		"rds by its document":     {"orders", types.DatabaseSpec{Protocol: "postgres", URI: "db.example.com:5432", AWS: &types.DatabaseAWS{Region: "eu-west-1", RDS: &types.DatabaseAWSCluster{InstanceID: "i"}}}, rds("db.example.com:5432", "eu-west-1", cloudtest.AgentARN)},
		"cloud sql":               {"orders@project-1.iam", types.DatabaseSpec{Protocol: "postgres", URI: "10.0.0.1:5432", GCP: gcp, TLS: types.DatabaseTLS{Mode: types.TLSVerifyCA, CACert: "own"}}, google},
		"cloud sql, mysql":        {"orders", types.DatabaseSpec{Protocol: "mysql", URI: "10.0.0.1:3306", GCP: gcp}, google},
		"azure":                   {"orders", types.DatabaseSpec{Protocol: "postgres", URI: "shop.postgres.database.azure.com:5432"}, azure("https://ossrdbms-aad.database.windows.net")},
		"azure, mysql":            {"orders", types.DatabaseSpec{Protocol: "mysql", URI: "shop.mysql.database.usgovcloudapi.net"}, azure("https://ossrdbms-aad.database.usgovcloudapi.net")},
		"one's own":               {"orders", types.DatabaseSpec{Protocol: "postgres", URI: "db.example.com:5432"}, none},
		"one that looks like rds": {"orders", types.DatabaseSpec{Protocol: "postgres", URI: "shop.abc.eu-west-1.rds.amazonaws.com.example.com:5432"}, none},
		"dynamodb":                {"orders", types.DatabaseSpec{Protocol: "dynamodb", AWS: &types.DatabaseAWS{Region: "eu-west-1"}}, none},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := w.Password(t.Context(), login(t, c.user, c.spec))
			if err == nil {
				err = c.check(token)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNoTokenForWhoeverAnswers(t *testing.T) {
	w := newWorld(t)
	gcp := &types.DatabaseGCP{ProjectID: "project-1"}
	for name, spec := range map[string]types.DatabaseSpec{
		"rds, insecure":                       {Protocol: "mysql", URI: "shop.abc.eu-west-1.rds.amazonaws.com", TLS: types.DatabaseTLS{Mode: types.TLSInsecure}},
		"rds, any name":                       {Protocol: "postgres", URI: "shop.abc.eu-west-1.rds.amazonaws.com", TLS: types.DatabaseTLS{Mode: types.TLSVerifyCA, CACert: "x"}},
		"azure, any name":                     {Protocol: "postgres", URI: "shop.postgres.database.azure.com", TLS: types.DatabaseTLS{Mode: types.TLSVerifyCA}},
		"cloud sql, insecure":                 {Protocol: "postgres", URI: "10.0.0.1", GCP: gcp, TLS: types.DatabaseTLS{Mode: types.TLSInsecure}},
		"cloud sql, any name of the public":   {Protocol: "postgres", URI: "10.0.0.1", GCP: gcp, TLS: types.DatabaseTLS{Mode: types.TLSVerifyCA}},
		"cloud sql, its own and the public's": {Protocol: "postgres", URI: "10.0.0.1", GCP: gcp, TLS: types.DatabaseTLS{Mode: types.TLSVerifyCA, CACert: "x", TrustSystemCertPool: true}},
	} {
		token, err := w.Password(t.Context(), login(t, "orders", spec))
		if token != "" || !errors.Is(err, fault.Invalid) || fault.Hint(err) == "" {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
}

func TestUsersOfCloudSQL(t *testing.T) {
	w := newWorld(t)
	w.google.Grant(cloudtest.GoogleAgent, "orders@project-1.iam.gserviceaccount.com")
	for name, c := range map[string]struct{ protocol, user, hint string }{
		"postgres by the name alone":    {"postgres", "orders", "--db-user=orders@project-1.iam"},
		"postgres by the whole address": {"postgres", "orders@project-1.iam.gserviceaccount.com", "--db-user=orders@project-1.iam"},
		"mysql by the address":          {"mysql", "orders@project-1.iam", "--db-user=orders"},
	} {
		spec := types.DatabaseSpec{Protocol: c.protocol, URI: "10.0.0.1", GCP: &types.DatabaseGCP{ProjectID: "project-1"}}
		_, err := w.Password(t.Context(), login(t, c.user, spec))
		if !errors.Is(err, fault.Invalid) || fault.Hint(err) != c.hint {
			t.Errorf("%s: %v, hint %q", name, err, fault.Hint(err))
		}
	}
	spec := types.DatabaseSpec{Protocol: "postgres", URI: "10.0.0.1", GCP: &types.DatabaseGCP{ProjectID: "project-1"}}
	if _, err := w.Password(t.Context(), login(t, "admin@project-1.iam", spec)); !errors.Is(err, fault.Denied) || strings.Contains(err.Error(), "ya29") {
		t.Errorf("an account that the agent may not be: %v", err)
	}
}
