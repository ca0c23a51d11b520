package config

import "teleport/types"

// DBAWS tells where in AWS the database lives.
type DBAWS struct {
	Region        string            `yaml:"region"`
	AccountID     string            `yaml:"account_id"`
	AssumeRoleARN string            `yaml:"assume_role_arn"`
	ExternalID    string            `yaml:"external_id"`
	SessionTags   map[string]string `yaml:"session_tags"`
	RDS           DBRDS             `yaml:"rds"`
	ElastiCache   DBElastiCache     `yaml:"elasticache"`
	MemoryDB      DBMemoryDB        `yaml:"memorydb"`
}

// DBRDS names an instance or a cluster of RDS.
type DBRDS struct {
	InstanceID string `yaml:"instance_id"`
	ClusterID  string `yaml:"cluster_id"`
}

// DBElastiCache names a cache of ElastiCache.
type DBElastiCache struct {
	ReplicationGroupID string `yaml:"replication_group_id"`
}

// DBMemoryDB names a cluster of MemoryDB.
type DBMemoryDB struct {
	ClusterName string `yaml:"cluster_name"`
}

// DBGCP tells where in Google Cloud the database lives.
type DBGCP struct {
	ProjectID  string `yaml:"project_id"`
	InstanceID string `yaml:"instance_id"`
}

// DBAzure tells where in Azure the database lives.
type DBAzure struct {
	ResourceID    string `yaml:"resource_id"`
	IsFlexiServer Flag   `yaml:"is_flexi_server"`
}

// cloud says in the document what the entry says of a cloud.
func (e DBEntry) cloud(spec *types.DatabaseSpec) {
	a := e.AWS
	if a.RDS != (DBRDS{}) || a.ElastiCache != (DBElastiCache{}) || a.MemoryDB != (DBMemoryDB{}) || a.Region != "" || a.AccountID != "" || a.AssumeRoleARN != "" || a.ExternalID != "" || len(a.SessionTags) > 0 {
		spec.AWS = &types.DatabaseAWS{Region: a.Region, AccountID: a.AccountID, AssumeRoleARN: a.AssumeRoleARN, ExternalID: a.ExternalID, SessionTags: a.SessionTags}
		if a.RDS != (DBRDS{}) {
			spec.AWS.RDS = &types.DatabaseAWSCluster{InstanceID: a.RDS.InstanceID, ClusterID: a.RDS.ClusterID}
		}
		if a.ElastiCache != (DBElastiCache{}) {
			spec.AWS.ElastiCache = &types.DatabaseAWSCache{ReplicationGroupID: a.ElastiCache.ReplicationGroupID}
		}
		if a.MemoryDB != (DBMemoryDB{}) {
			spec.AWS.MemoryDB = &types.DatabaseAWSMemory{ClusterName: a.MemoryDB.ClusterName}
		}
	}
	if e.GCP != (DBGCP{}) {
		spec.GCP = &types.DatabaseGCP{ProjectID: e.GCP.ProjectID, InstanceID: e.GCP.InstanceID}
	}
	if e.Azure != (DBAzure{}) {
		spec.Azure = &types.DatabaseAzure{ResourceID: e.Azure.ResourceID, IsFlexiServer: e.Azure.IsFlexiServer.Or(false)}
	}
}
