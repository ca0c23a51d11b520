package types

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// Where databases live, which decides how an agent proves itself to them.
const (
	HostedSelf        = "self-hosted" // by a certificate of the cluster
	HostedRDS         = "rds"         // RDS, Aurora and RDS Proxy: by a token that is signed for one login
	HostedElastiCache = "elasticache" // by such a token
	HostedMemoryDB    = "memorydb"    // by such a token
	HostedDynamoDB    = "dynamodb"    // by a signature on each request
	HostedCloudSQL    = "gcp"         // Cloud SQL: by an access token of a service account
	HostedAzure       = "azure"       // Azure Database: by an access token of an identity
)

// Hosting tells where the database lives: by what its document says of a cloud,
// or else by the form of its host name. A token of Azure works wherever it is sent,
// so that there the host name alone counts.
func (s *DatabaseSpec) Hosting() string {
	host := s.host()
	switch {
	case s.Protocol == "dynamodb":
		return HostedDynamoDB
	case s.AWS != nil && s.AWS.RDS != nil, rdsRegion(host) != "":
		return HostedRDS
	case s.AWS != nil && s.AWS.ElastiCache != nil:
		return HostedElastiCache
	case s.AWS != nil && s.AWS.MemoryDB != nil:
		return HostedMemoryDB
	case s.GCP != nil && s.GCP.ProjectID != "":
		return HostedCloudSQL
	case azureHost(host):
		return HostedAzure
	}
	return HostedSelf
}

// InCloud reports whether the database shows a certificate of its cloud's
// authorities, and takes no certificate of ours.
func (s *DatabaseSpec) InCloud() bool { return s.Hosting() != HostedSelf }

// AWSRegion is the region that the database is in: the document's, or else that
// of its host name; "" when neither tells.
func (s *DatabaseSpec) AWSRegion() string {
	if s.AWS != nil && s.AWS.Region != "" {
		return s.AWS.Region
	}
	host := s.host()
	if r := rdsRegion(host); r != "" {
		return r
	}
	return amazonRegion(host)
}

// host is the host of the URI, without its port; "" when there is none.
func (s *DatabaseSpec) host() string {
	hostport := s.URI
	if u, err := url.Parse(s.URI); err == nil && strings.Contains(s.URI, "://") {
		hostport = u.Host
	}
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return strings.ToLower(host)
	}
	return strings.ToLower(hostport)
}

// rdsRegion reads the region out of the name of an instance, a cluster or a
// proxy of RDS: NAME.HASH.REGION.rds.amazonaws.com, in China
// NAME.HASH.rds.REGION.amazonaws.com.cn. It is "" for other names.
func rdsRegion(host string) string {
	labels := strings.Split(host, ".")
	n := len(labels)
	switch {
	case n >= 6 && strings.HasSuffix(host, ".rds.amazonaws.com"):
		return labels[n-4]
	case n >= 7 && strings.HasSuffix(host, ".amazonaws.com.cn") && labels[n-5] == "rds":
		return labels[n-4]
	}
	return ""
}

// amazonRegion reads the region out of the name of a regional endpoint.
func amazonRegion(host string) string {
	for _, suffix := range []string{".vpce.amazonaws.com", ".amazonaws.com", ".amazonaws.com.cn", ".api.aws"} {
		if name, ok := strings.CutSuffix(host, suffix); ok {
			region := name[strings.LastIndexByte(name, '.')+1:]
			if checkRegion(region) == nil {
				return region
			}
		}
	}
	return ""
}

func azureHost(host string) bool {
	return slices.ContainsFunc([]string{".postgres.database.azure.com", ".mysql.database.azure.com", ".postgres.database.usgovcloudapi.net",
		".mysql.database.usgovcloudapi.net", ".postgres.database.chinacloudapi.cn", ".mysql.database.chinacloudapi.cn"},
		func(suffix string) bool { return strings.HasSuffix(host, suffix) })
}

// AWSPartition is the part of AWS that a region belongs to. Nothing crosses from
// one to another.
func AWSPartition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// AWSRolePartition is the part of AWS that a role belongs to, "" for what is no ARN.
func AWSRolePartition(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return ""
	}
	return parts[1]
}

// AWSEndpoint is the host by which a service of AWS is reached: the database's
// URI when it names an endpoint of its own, and the service's in the database's
// region otherwise. service is the first part of its host name.
func (s *DatabaseSpec) AWSEndpoint(service string) (string, error) {
	host := s.host()
	if host != "" && amazonRegion(host) == "" || strings.HasSuffix(host, ".vpce.amazonaws.com") {
		return host, nil
	}
	region := s.AWSRegion()
	if err := checkRegion(region); err != nil {
		return "", at("aws.region", err)
	}
	suffix := ".amazonaws.com"
	if AWSPartition(region) == "aws-cn" {
		suffix += ".cn"
	}
	return service + "." + region + suffix, nil
}

// AWSRole is the ARN of the role that a user of a DynamoDB database names: by its
// ARN, or by its name in the account of the document.
func (s *DatabaseSpec) AWSRole(user string) (string, error) {
	if strings.HasPrefix(user, "arn:") {
		return user, checkRoleARN(user)
	}
	account := ""
	if s.AWS != nil {
		account = s.AWS.AccountID
	}
	if account == "" {
		return "", fieldFault("", "the role %q is only a name, and the database does not say in which account", user).WithHint("name the role's whole ARN, or set aws.account_id of the database")
	}
	arn := "arn:" + AWSPartition(s.AWSRegion()) + ":iam::" + account + ":role/" + user
	return arn, checkRoleARN(arn)
}

// UserForms lists the names by which roles may call a user of the database: one,
// but for roles of AWS, which have an ARN and a name. In a deny a role's name
// means it in every account, as nobody should have to think of that.
func (s *DatabaseSpec) UserForms(user string, deny bool) []string {
	forms := []string{user}
	if s.Hosting() != HostedDynamoDB {
		return forms
	}
	arn, err := s.AWSRole(user)
	if err != nil {
		return forms
	}
	forms = append(forms, arn)
	head, path, _ := strings.Cut(arn, ":role/")
	own := s.AWS != nil && s.AWS.AccountID != "" && strings.HasSuffix(head, ":"+s.AWS.AccountID)
	if own || deny {
		forms = append(forms, path, path[strings.LastIndexByte(path, '/')+1:])
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

func checkRegion(region string) error {
	err := checkChars("region", region, "abcdefghijklmnopqrstuvwxyz0123456789-", 32)
	if last := len(region) - 1; err == nil && (strings.Count(region, "-") < 2 || region[last] < '0' || region[last] > '9') {
		err = fieldFault("", "%q is no region", region)
	}
	return err
}

func checkAccount(account string) error {
	if len(account) != 12 {
		return fieldFault("", "%q is no account: those have 12 digits", account)
	}
	return checkChars("account", account, "0123456789", 12)
}

// checkRoleARN wants arn:PARTITION:iam::ACCOUNT:role/[PATH/]NAME.
func checkRoleARN(arn string) error {
	parts := strings.SplitN(arn, ":", 6)
	name, isRole := "", false
	if len(parts) == 6 {
		name, isRole = strings.CutPrefix(parts[5], "role/")
	}
	if !isRole || !strings.HasPrefix(parts[1], "aws") || parts[2] != "iam" || parts[3] != "" || checkAccount(parts[4]) != nil {
		return fieldFault("", "%q is no ARN of a role", arn)
	}
	if err := checkChars("role", name, alnum+"+=,.@_-/", 512+64); err != nil {
		return err
	}
	if strings.HasSuffix(name, "/") || strings.Contains(name, "//") {
		return fieldFault("", "%q is no ARN of a role", arn)
	}
	return nil
}

const maxSessionTags = 50

// validateCloud checks what the document says of a cloud.
func (s *DatabaseSpec) validateCloud(path string) error {
	clouds := 0
	for _, has := range []bool{s.AWS != nil, s.GCP != nil, s.Azure != nil} {
		if has {
			clouds++
		}
	}
	if clouds > 1 {
		return fieldFault(path, "a database is in one cloud: of aws, gcp and azure one may be set")
	}
	if s.AWS != nil {
		if err := s.AWS.validate(JoinPath(path, "aws")); err != nil {
			return err
		}
		if named := (&DatabaseSpec{URI: s.URI}).AWSRegion(); named != "" && s.AWS.Region != "" && named != s.AWS.Region {
			return fieldFault(JoinPath(path, "aws.region"), "is %s, and the uri is in %s", s.AWS.Region, named)
		}
	}
	if s.Azure != nil && !azureHost(s.host()) {
		return fieldFault(JoinPath(path, "azure"), "is set, and the uri is no host of Azure Database")
	}
	if h := s.Hosting(); h != HostedSelf && h != HostedCloudSQL && h != HostedAzure && s.AWSRegion() == "" {
		return fieldFault(JoinPath(path, "aws.region"), "is missing, and the uri does not tell it")
	}
	return s.validateCaches(path)
}

// validateCaches wants the name for which logins are signed.
func (s *DatabaseSpec) validateCaches(path string) error {
	if s.AWS == nil {
		return nil
	}
	names := map[string]string{}
	if c := s.AWS.ElastiCache; c != nil {
		names["aws.elasticache.replication_group_id"] = c.ReplicationGroupID
	}
	if m := s.AWS.MemoryDB; m != nil {
		names["aws.memorydb.cluster_name"] = m.ClusterName
	}
	for field, name := range names {
		switch {
		case s.Protocol != "redis" || len(names) > 1 || s.AWS.RDS != nil:
			return fieldFault(JoinPath(path, field), "is set, and the database is another one")
		case name == "":
			return fieldFault(JoinPath(path, field), "is missing")
		}
		if err := at(JoinPath(path, field), checkChars("name", name, "abcdefghijklmnopqrstuvwxyz0123456789-", 50)); err != nil {
			return err
		}
	}
	return nil
}

func (a *DatabaseAWS) validate(path string) error {
	const external = alnum + "_+=,.@:/-"
	if a.Region != "" {
		if err := at(JoinPath(path, "region"), checkRegion(a.Region)); err != nil {
			return err
		}
	}
	if a.AccountID != "" {
		if err := at(JoinPath(path, "account_id"), checkAccount(a.AccountID)); err != nil {
			return err
		}
	}
	if a.AssumeRoleARN != "" {
		if err := at(JoinPath(path, "assume_role_arn"), checkRoleARN(a.AssumeRoleARN)); err != nil {
			return err
		}
	}
	if a.ExternalID != "" {
		if err := at(JoinPath(path, "external_id"), checkChars("external id", a.ExternalID, external, 1224)); err != nil {
			return err
		}
	}
	if len(a.SessionTags) > maxSessionTags {
		return fieldFault(JoinPath(path, "session_tags"), "has more than %d", maxSessionTags)
	}
	for k, v := range a.SessionTags {
		if k == "" || len(k) > 128 || len(v) > 256 {
			return fieldFault(JoinPath(path, "session_tags"), "%q is empty, or longer than tags may be", k)
		}
	}
	return nil
}
