package config

import (
	"reflect"
	"testing"

	"teleport/types"
)

// TestDatabasesInClouds holds that the document says what the entry says.
func TestDatabasesInClouds(t *testing.T) {
	for name, c := range map[string]struct {
		entry DBEntry
		want  types.DatabaseSpec
	}{
		"aws": {DBEntry{Name: "a", Protocol: "dynamodb", AWS: DBAWS{Region: "eu-west-1", AccountID: "123456789012", ExternalID: "x", SessionTags: map[string]string{"a": "b"}}},
			types.DatabaseSpec{Protocol: "dynamodb", AWS: &types.DatabaseAWS{Region: "eu-west-1", AccountID: "123456789012", ExternalID: "x", SessionTags: map[string]string{"a": "b"}}}},
		"elasticache": {DBEntry{Name: "a", Protocol: "redis", URI: "h:1", AWS: DBAWS{Region: "eu-west-1", ElastiCache: DBElastiCache{ReplicationGroupID: "shop"}}},
			types.DatabaseSpec{Protocol: "redis", URI: "h:1", AWS: &types.DatabaseAWS{Region: "eu-west-1", ElastiCache: &types.DatabaseAWSCache{ReplicationGroupID: "shop"}}}},
		"memorydb": {DBEntry{Name: "a", Protocol: "redis", URI: "h:1", AWS: DBAWS{Region: "eu-west-1", MemoryDB: DBMemoryDB{ClusterName: "shop"}}},
			types.DatabaseSpec{Protocol: "redis", URI: "h:1", AWS: &types.DatabaseAWS{Region: "eu-west-1", MemoryDB: &types.DatabaseAWSMemory{ClusterName: "shop"}}}},
		"rds": {DBEntry{Name: "a", Protocol: "postgres", URI: "h:1", AWS: DBAWS{Region: "eu-west-1", RDS: DBRDS{InstanceID: "i"}}},
			types.DatabaseSpec{Protocol: "postgres", URI: "h:1", AWS: &types.DatabaseAWS{Region: "eu-west-1", RDS: &types.DatabaseAWSCluster{InstanceID: "i"}}}},
		"gcp": {DBEntry{Name: "a", Protocol: "postgres", URI: "h:1", GCP: DBGCP{ProjectID: "p", InstanceID: "i"}},
			types.DatabaseSpec{Protocol: "postgres", URI: "h:1", GCP: &types.DatabaseGCP{ProjectID: "p", InstanceID: "i"}}},
		"azure": {DBEntry{Name: "a", Protocol: "mysql", URI: "h.mysql.database.azure.com", Azure: DBAzure{ResourceID: "/subscriptions/s"}},
			types.DatabaseSpec{Protocol: "mysql", URI: "h.mysql.database.azure.com", Azure: &types.DatabaseAzure{ResourceID: "/subscriptions/s"}}},
		"none": {DBEntry{Name: "a", Protocol: "postgres", URI: "h:1"}, types.DatabaseSpec{Protocol: "postgres", URI: "h:1"}},
	} {
		c.want.TLS.Mode = types.TLSVerifyFull
		d, err := c.entry.document()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(d.Spec, c.want) {
			t.Errorf("%s: %+v", name, d.Spec)
		}
	}
}
