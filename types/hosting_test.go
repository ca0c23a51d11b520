package types

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"teleport/fault"
)

func TestHosting(t *testing.T) {
	for _, c := range []struct {
		spec            DatabaseSpec
		hosting, region string
	}{
		{DatabaseSpec{Protocol: "postgres", URI: "db.example.com:5432"}, HostedSelf, ""},
		{DatabaseSpec{Protocol: "redis", URI: "master.shop.abc.euw1.cache.amazonaws.com:6379", AWS: &DatabaseAWS{Region: "eu-west-1", ElastiCache: &DatabaseAWSCache{ReplicationGroupID: "shop"}}}, HostedElastiCache, "eu-west-1"},
		{DatabaseSpec{Protocol: "redis", URI: "clustercfg.shop.abc.memorydb.us-east-1.amazonaws.com:6379", AWS: &DatabaseAWS{MemoryDB: &DatabaseAWSMemory{ClusterName: "shop"}}}, HostedMemoryDB, "us-east-1"},
		{DatabaseSpec{Protocol: "postgres", URI: "i.abc.EU-west-1.rds.amazonaws.com:5432"}, HostedRDS, "eu-west-1"},
		{DatabaseSpec{Protocol: "postgres", URI: "p.proxy-abc.us-gov-west-1.rds.amazonaws.com"}, HostedRDS, "us-gov-west-1"},
		{DatabaseSpec{Protocol: "mysql", URI: "mysql://c.cluster-ro-abc.us-east-1.rds.amazonaws.com:3306"}, HostedRDS, "us-east-1"},
		{DatabaseSpec{Protocol: "mysql", URI: "i.abc.rds.cn-north-1.amazonaws.com.cn:3306"}, HostedRDS, "cn-north-1"},
		{DatabaseSpec{Protocol: "postgres", URI: "i.abc.eu-west-1.rds.amazonaws.com.evil.test:5432"}, HostedSelf, ""},
		{DatabaseSpec{Protocol: "postgres", URI: "rds.amazonaws.com:5432"}, HostedSelf, ""},
		{DatabaseSpec{Protocol: "postgres", URI: "10.0.0.1:5432", GCP: &DatabaseGCP{ProjectID: "p"}}, HostedCloudSQL, ""},
		{DatabaseSpec{Protocol: "mysql", URI: "i.mysql.database.azure.com:3306"}, HostedAzure, ""},
		{DatabaseSpec{Protocol: "postgres", URI: "i.postgres.database.azure.com.evil.test"}, HostedSelf, ""},
		{DatabaseSpec{Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "eu-west-1"}}, HostedDynamoDB, "eu-west-1"},
		{DatabaseSpec{Protocol: "dynamodb", URI: "dynamodb.eu-west-1.amazonaws.com"}, HostedDynamoDB, "eu-west-1"},
		{DatabaseSpec{Protocol: "dynamodb", URI: "https://vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com"}, HostedDynamoDB, "eu-west-1"},
	} {
		if h, r := c.spec.Hosting(), c.spec.AWSRegion(); h != c.hosting || r != c.region {
			t.Errorf("%s %s: %s in %q", c.spec.Protocol, c.spec.URI, h, r)
		}
	}
}

func TestAWSEndpoints(t *testing.T) {
	for _, c := range []struct{ uri, region, dynamodb, streams string }{
		{"", "eu-west-1", "dynamodb.eu-west-1.amazonaws.com", "streams.dynamodb.eu-west-1.amazonaws.com"},
		{"", "cn-north-1", "dynamodb.cn-north-1.amazonaws.com.cn", "streams.dynamodb.cn-north-1.amazonaws.com.cn"},
		{"dynamodb.us-east-2.amazonaws.com:443", "", "dynamodb.us-east-2.amazonaws.com", "streams.dynamodb.us-east-2.amazonaws.com"},
		{"https://dynamodb.internal.test:8443", "eu-west-1", "dynamodb.internal.test", "dynamodb.internal.test"},
		{"vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com", "", "vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com", "vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com"},
	} {
		s := DatabaseSpec{Protocol: "dynamodb", URI: c.uri, AWS: &DatabaseAWS{Region: c.region}}
		for service, want := range map[string]string{"dynamodb": c.dynamodb, "streams.dynamodb": c.streams} {
			if got, err := s.AWSEndpoint(service); got != want || err != nil {
				t.Errorf("%+v: %q, %v, want %q", c, got, err, want)
			}
		}
		if a, err := s.Address(); err != nil || !strings.HasPrefix(a, c.dynamodb+":") {
			t.Errorf("%+v: address %q, %v", c, a, err)
		}
	}
}

func TestCloudsOfADatabaseAreChecked(t *testing.T) {
	const arn = "arn:aws:iam::123456789012:role/r"
	for name, spec := range map[string]DatabaseSpec{
		"no region":             {Protocol: "dynamodb"},
		"an endpoint's region":  {Protocol: "dynamodb", URI: "https://dynamodb.test:8443"},
		"another region":        {Protocol: "dynamodb", URI: "dynamodb.us-east-1.amazonaws.com", AWS: &DatabaseAWS{Region: "eu-west-1"}},
		"a host for a region":   {Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "evil.test/eu-west-1"}},
		"a name for a region":   {Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "frankfurt"}},
		"a short account":       {Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "eu-west-1", AccountID: "1234"}},
		"a user for a role":     {Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "eu-west-1", AssumeRoleARN: strings.Replace(arn, "role", "user", 1)}},
		"a role with a space":   {Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "eu-west-1", AssumeRoleARN: arn + " x"}},
		"a bad external id":     {Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "eu-west-1", ExternalID: "a b"}},
		"an empty tag":          {Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "eu-west-1", SessionTags: map[string]string{"": "x"}}},
		"Azure elsewhere":       {Protocol: "postgres", URI: "db.example.com", Azure: &DatabaseAzure{ResourceID: "/subscriptions/s"}},
		"two clouds":            {Protocol: "postgres", URI: "h", AWS: &DatabaseAWS{Region: "eu-west-1"}, GCP: &DatabaseGCP{ProjectID: "p"}},
		"rds of unknown region": {Protocol: "postgres", URI: "h", AWS: &DatabaseAWS{RDS: &DatabaseAWSCluster{InstanceID: "i"}}},
		"a cache of no region":  {Protocol: "redis", URI: "h", AWS: &DatabaseAWS{ElastiCache: &DatabaseAWSCache{ReplicationGroupID: "shop"}}},
		"a cache of no name":    {Protocol: "redis", URI: "h", AWS: &DatabaseAWS{Region: "eu-west-1", ElastiCache: &DatabaseAWSCache{}}},
		"a cache that is a URL": {Protocol: "redis", URI: "h", AWS: &DatabaseAWS{Region: "eu-west-1", MemoryDB: &DatabaseAWSMemory{ClusterName: "shop/?x"}}},
		"a cache of PostgreSQL": {Protocol: "postgres", URI: "h", AWS: &DatabaseAWS{Region: "eu-west-1", MemoryDB: &DatabaseAWSMemory{ClusterName: "shop"}}},
		"two caches": {Protocol: "redis", URI: "h", AWS: &DatabaseAWS{Region: "eu-west-1", ElastiCache: &DatabaseAWSCache{ReplicationGroupID: "shop"},
			MemoryDB: &DatabaseAWSMemory{ClusterName: "shop"}}},
		"rds of another region": {Protocol: "postgres", URI: "i.abc.eu-west-1.rds.amazonaws.com", AWS: &DatabaseAWS{Region: "us-east-1"}},
	} {
		d := &Database{Spec: spec}
		d.Metadata.Name = "x"
		if err := d.Validate(); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRolesOfAWS(t *testing.T) {
	const own, other = "123456789012", "210987654321"
	with := DatabaseSpec{Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "eu-west-1", AccountID: own}}
	without := DatabaseSpec{Protocol: "dynamodb", AWS: &DatabaseAWS{Region: "eu-west-1"}}
	for _, c := range []struct {
		spec              DatabaseSpec
		user, arn         string
		may, mayNot, deny []string // names that stand for the user in an allow, do not, and do in a deny
	}{
		{with, "reader", "arn:aws:iam::" + own + ":role/reader", []string{"reader", "arn:aws:iam::" + own + ":role/reader"}, []string{"arn:aws:iam::" + other + ":role/reader"}, []string{"reader"}},
		{with, "arn:aws:iam::" + own + ":role/team/reader", "arn:aws:iam::" + own + ":role/team/reader", []string{"team/reader", "reader"}, []string{"team"}, []string{"reader", "team/reader"}},
		{with, "arn:aws:iam::" + other + ":role/reader", "arn:aws:iam::" + other + ":role/reader", nil, []string{"reader"}, []string{"reader"}},
		{without, "arn:aws:iam::" + own + ":role/reader", "arn:aws:iam::" + own + ":role/reader", nil, []string{"reader"}, []string{"reader"}},
	} {
		arn, err := c.spec.AWSRole(c.user)
		if arn != c.arn || err != nil {
			t.Errorf("%s: %q, %v", c.user, arn, err)
		}
		allow, deny := c.spec.UserForms(c.user, false), c.spec.UserForms(c.user, true)
		for _, n := range append(c.may, c.user) {
			if !slices.Contains(allow, n) || !slices.Contains(deny, n) {
				t.Errorf("%s: %s does not stand for it", c.user, n)
			}
		}
		for _, n := range c.mayNot {
			if slices.Contains(allow, n) {
				t.Errorf("%s: %s stands for it", c.user, n)
			}
		}
		for _, n := range c.deny {
			if !slices.Contains(deny, n) {
				t.Errorf("%s: a deny of %s says nothing", c.user, n)
			}
		}
	}
	for _, bad := range []string{"reader", "", "arn:aws:iam::1:role/x", "arn:aws:sts::" + own + ":assumed-role/x/y", "arn:aws:iam::" + own + ":role/", "arn:aws:iam::" + own + ":role/a b"} {
		if arn, err := without.AWSRole(bad); err == nil {
			t.Errorf("%q is %q", bad, arn)
		}
	}
}
