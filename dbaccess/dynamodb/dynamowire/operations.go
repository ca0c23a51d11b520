package dynamowire

// services is what is known. Each operation is listed with the places where it
// names what it is about.
var services = []*Service{
	{Host: "dynamodb", Signing: "dynamodb", JSON: "1.0", version: "DynamoDB_20120810", calls: dynamoDB},
	{Host: "streams.dynamodb", Signing: "dynamodb", JSON: "1.0", version: "DynamoDBStreams_20120810", calls: streams},
	{Host: "dax", Signing: "dax", JSON: "1.1", version: "AmazonDAXV3", calls: dax},
}

var (
	nothing  []string
	table    = []string{"TableName"}
	global   = []string{"GlobalTableName"}
	resource = []string{"ResourceArn"}
	export   = []string{"ExportArn"}
	backup   = []string{"BackupArn"}
	cluster  = []string{"ClusterName"}
	group    = []string{"ParameterGroupName"}
	subnets  = []string{"SubnetGroupName"}
)

// dynamoDB is API version 2012-08-10.
var dynamoDB = map[string][]string{
	"BatchExecuteStatement":               {"Statements[].Statement"},
	"BatchGetItem":                        {"RequestItems{}"},
	"BatchWriteItem":                      {"RequestItems{}"},
	"CreateBackup":                        table,
	"CreateGlobalTable":                   global,
	"CreateTable":                         table,
	"DeleteBackup":                        backup,
	"DeleteItem":                          table,
	"DeleteResourcePolicy":                resource,
	"DeleteTable":                         table,
	"DescribeBackup":                      backup,
	"DescribeContinuousBackups":           table,
	"DescribeContributorInsights":         table,
	"DescribeEndpoints":                   nothing,
	"DescribeExport":                      export,
	"DescribeGlobalTable":                 global,
	"DescribeGlobalTableSettings":         global,
	"DescribeImport":                      {"ImportArn"},
	"DescribeKinesisStreamingDestination": table,
	"DescribeLimits":                      nothing,
	"DescribeTable":                       table,
	"DescribeTableReplicaAutoScaling":     table,
	"DescribeTimeToLive":                  table,
	"DisableKinesisStreamingDestination":  {"TableName", "StreamArn"},
	"EnableKinesisStreamingDestination":   {"TableName", "StreamArn"},
	"ExecuteStatement":                    {"Statement"},
	"ExecuteTransaction":                  {"TransactStatements[].Statement"},
	"ExportTableToPointInTime":            {"TableArn"},
	"GetItem":                             table,
	"GetResourcePolicy":                   resource,
	"ImportTable":                         {"TableCreationParameters.TableName"},
	"ListBackups":                         table,
	"ListContributorInsights":             table,
	"ListExports":                         {"TableArn"},
	"ListGlobalTables":                    nothing,
	"ListImports":                         {"TableArn"},
	"ListTables":                          nothing,
	"ListTagsOfResource":                  resource,
	"PutItem":                             table,
	"PutResourcePolicy":                   resource,
	"Query":                               table,
	"RestoreTableFromBackup":              {"TargetTableName", "BackupArn"},
	"RestoreTableToPointInTime":           {"SourceTableArn", "SourceTableName", "TargetTableName"},
	"Scan":                                table,
	"TagResource":                         resource,
	"TransactGetItems":                    {"TransactItems[].*.TableName"},
	"TransactWriteItems":                  {"TransactItems[].*.TableName"},
	"UntagResource":                       resource,
	"UpdateContinuousBackups":             table,
	"UpdateContributorInsights":           table,
	"UpdateGlobalTable":                   global,
	"UpdateGlobalTableSettings":           global,
	"UpdateItem":                          table,
	"UpdateKinesisStreamingDestination":   {"TableName", "StreamArn"},
	"UpdateTable":                         table,
	"UpdateTableReplicaAutoScaling":       table,
	"UpdateTimeToLive":                    table,
}

// streams is API version 2012-08-10. Iterators name their stream only to AWS.
var streams = map[string][]string{
	"DescribeStream":   {"StreamArn"},
	"GetRecords":       nothing,
	"GetShardIterator": {"StreamArn"},
	"ListStreams":      table,
}

// dax is the control of DAX clusters, API version 2017-04-19. Their data has a
// protocol of its own, which is not let through.
var dax = map[string][]string{
	"CreateCluster":             cluster,
	"CreateParameterGroup":      group,
	"CreateSubnetGroup":         subnets,
	"DecreaseReplicationFactor": cluster,
	"DeleteCluster":             cluster,
	"DeleteParameterGroup":      group,
	"DeleteSubnetGroup":         subnets,
	"DescribeClusters":          {"ClusterNames[]"},
	"DescribeDefaultParameters": nothing,
	"DescribeEvents":            {"SourceName"},
	"DescribeParameterGroups":   {"ParameterGroupNames[]"},
	"DescribeParameters":        group,
	"DescribeSubnetGroups":      {"SubnetGroupNames[]"},
	"IncreaseReplicationFactor": cluster,
	"ListTags":                  {"ResourceName"},
	"RebootNode":                cluster,
	"TagResource":               {"ResourceName"},
	"UntagResource":             {"ResourceName"},
	"UpdateCluster":             cluster,
	"UpdateParameterGroup":      group,
	"UpdateSubnetGroup":         subnets,
}
