// Package cloudhost knows which hosts are APIs of clouds, and of which service
// and region. The tables are closed: what a tenant of a cloud can name himself
// below its domains (load balancers, machines, databases) is none of them, as the
// credentials of a role must never be sent there. Both ends use it: tsh to know
// what to take to an app, the agent to know what to sign.
package cloudhost

import (
	"slices"
	"strings"

	"teleport/types"
)

// AWS is an endpoint of an AWS service.
type AWS struct {
	Host string // without a port, lower case
	// Service is the name by which requests to it are usually signed, and Names are
	// all that AWS takes there.
	Service string
	Names   []string
	Region  string
	// Regional says that the host names the region; of others it is that of their home.
	Regional bool
	// Bucket is the bucket that an S3 host names, "" where the path names it.
	Bucket string
}

// Signs reports whether requests there may be signed for a service in a region. S3
// alone has hosts that serve several regions.
func (a *AWS) Signs(service, region string) bool {
	anywhere := a.Service == "s3" && !a.Regional && awsRegion(region) && types.AWSPartition(region) == types.AWSPartition(a.Region)
	return slices.Contains(a.Names, service) && (region == a.Region || anywhere)
}

// awsDomain is what the hosts of one part of AWS end with.
type awsDomain struct {
	suffix string
	region string // what its regions begin with; "" is any that no other has
	home   string // where services without a region are signed for
}

var awsDomains = []awsDomain{
	{".amazonaws.com.cn", "cn-", "cn-northwest-1"},
	{".api.amazonwebservices.com.cn", "cn-", "cn-northwest-1"},
	{".amazonaws.com", "", "us-east-1"},
	{".api.aws", "", "us-east-1"},
}

// awsGlobal are services without a region in their host, and the region that they
// are signed for, "" where it is the home of their part.
var awsGlobal = map[string]string{
	"budgets": "", "cloudfront": "", "iam": "", "importexport": "", "route53": "", "s3": "", "s3-external-1": "", "sdb": "", "sts": "", "waf": "",
	"global.health": "", "organizations": "", "support": "", "shield": "", "ce": "",
}

// awsNames are the services whose host begins with another name than the one that
// they are signed by, and those whose host has several parts (of the service
// models that AWS publishes with its SDKs).
var awsNames = map[string]string{
	"appconfigdata": "appconfig", "appstream2": "appstream", "backupstorage": "backup-storage", "identity-chime": "chime",
	"media-pipelines-chime": "chime", "meetings-chime": "chime", "messaging-chime": "chime", "voice-chime": "chime", "cloudhsmv2": "cloudhsm",
	"contact-lens": "connect", "participant.connect": "execute-api", "api.detective": "detective", "streams.dynamodb": "dynamodb",
	"api.ecr": "ecr", "api.ecr-public": "ecr-public", "api.elastic-inference": "elastic-inference", "forecastquery": "forecast",
	"iot": "execute-api", "data-ats.iot": "iotdata", "data.jobs.iot": "iot-jobs-data", "devices.iot1click": "iot1click",
	"projects.iot1click": "iot1click", "api.iotdeviceadvisor": "iotdeviceadvisor", "data.iotevents": "ioteventsdata",
	"api.fleethub.iot": "iotfleethub", "api.tunneling.iot": "IoTSecuredTunneling", "api.iotwireless": "iotwireless", "models.lex": "lex",
	"runtime.lex": "lex", "models-v2-lex": "lex", "runtime-v2-lex": "lex", "catalog.marketplace": "aws-marketplace",
	"entitlement.marketplace": "aws-marketplace", "metering.marketplace": "aws-marketplace", "data.mediastore": "mediastore",
	"api.mediatailor": "mediatailor", "memory-db": "memorydb", "migrationhub-config": "mgh", "mobile": "AWSMobileHubService",
	"personalize-events": "personalize", "personalize-runtime": "personalize", "pinpoint": "mobiletargeting", "email": "ses",
	"sms-voice.pinpoint": "sms-voice", "api.pricing": "pricing", "session.qldb": "qldb", "s3-control": "s3", "s3-accesspoint": "s3",
	"s3-external-1": "s3", "api.sagemaker": "sagemaker", "a2i-runtime.sagemaker": "sagemaker", "edge.sagemaker": "sagemaker",
	"featurestore-runtime.sagemaker": "sagemaker", "metrics.sagemaker": "sagemaker", "runtime.sagemaker": "sagemaker",
	"servicecatalog-appregistry": "servicecatalog", "portal.sso": "awsssoportal", "oidc": "awsssooidc", "query.timestream": "timestream",
	"ingest.timestream": "timestream", "bedrock-runtime": "bedrock", "bedrock-agent": "bedrock", "bedrock-agent-runtime": "bedrock",
	"importexport": "IngestionService", "global.health": "health",
}

// ParseAWS reads a host, without its port. ok is false for what is no endpoint of
// a service.
func ParseAWS(host string) (endpoint AWS, ok bool) {
	if len(host) > maxHost || host != strings.ToLower(host) {
		return AWS{}, false
	}
	for _, d := range awsDomains {
		if name, found := strings.CutSuffix(host, d.suffix); found {
			return d.parse(host, strings.Split(name, "."))
		}
	}
	return AWS{}, false
}

const maxHost = 253

// parse takes the labels before the domain apart.
func (d awsDomain) parse(host string, labels []string) (AWS, bool) {
	for _, l := range labels {
		if !label(l) {
			return AWS{}, false
		}
	}
	a := AWS{Host: host}
	if last := labels[len(labels)-1]; awsRegion(last) {
		if !d.holds(last) {
			return AWS{}, false
		}
		a.Region, labels = last, labels[:len(labels)-1]
	} else if last == "us-gov" && d.suffix == ".amazonaws.com" { // iam.us-gov.amazonaws.com
		a.Region, labels = "us-gov-west-1", labels[:len(labels)-1]
	}
	if len(labels) == 0 {
		return AWS{}, false
	}
	a.Regional = a.Region != ""
	if d.s3(&a, labels) {
		return a, true
	}
	if a.Region == "" {
		region, known := awsGlobal[strings.Join(labels, ".")]
		if !known {
			return AWS{}, false
		}
		if a.Region = region; region == "" {
			a.Region = d.home
		}
	}
	return a, a.named(labels)
}

// named finds the service of a host from the labels before its region.
func (a *AWS) named(labels []string) bool {
	prefix := strings.Join(labels, ".")
	prefix = strings.TrimSuffix(strings.TrimPrefix(prefix, "fips."), "-fips")
	if len(labels) == 2 && (labels[1] == "execute-api" && alphanumeric(labels[0]) || labels[1] == "ddb" && alphanumeric(labels[0])) {
		a.Service = map[string]string{"execute-api": "execute-api", "ddb": "dynamodb"}[labels[1]]
		a.Names = []string{a.Service}
		return true
	}
	name, odd := awsNames[prefix]
	switch {
	case odd && name == "execute-api": // signed so by some of its APIs only
		a.Service, a.Names = prefix, []string{prefix, name}
	case odd:
		a.Service, a.Names = name, []string{name, prefix}
	case strings.Contains(prefix, ".") && awsGlobal[prefix] == "" && prefix != "global.health":
		return false
	default:
		a.Service, a.Names = prefix, []string{prefix}
	}
	return true
}

// s3 reads the hosts of S3, before which buckets and accounts stand.
func (d awsDomain) s3(a *AWS, labels []string) bool {
	if labels[len(labels)-1] == "dualstack" {
		labels = labels[:len(labels)-1]
	}
	n := len(labels) - 1
	if n < 0 {
		return false
	}
	kind := strings.TrimSuffix(labels[n], "-fips")
	if region, old := strings.CutPrefix(kind, "s3-"); old && a.Region == "" && awsRegion(region) && d.holds(region) {
		kind, a.Region, a.Regional = "s3", region, true
	}
	switch kind {
	case "s3", "s3-external-1":
		a.Bucket = strings.Join(labels[:n], ".")
	case "s3-accesspoint", "s3-control":
		if n != 1 || a.Region == "" {
			return false
		}
		if kind == "s3-accesspoint" {
			a.Bucket = labels[0]
		}
	default:
		return false
	}
	if a.Region == "" {
		a.Region = d.home
	}
	a.Service, a.Names = "s3", []string{"s3"}
	return true
}

// holds reports whether a region is of this part of AWS.
func (d awsDomain) holds(region string) bool {
	if d.region != "" {
		return strings.HasPrefix(region, d.region)
	}
	return !strings.HasPrefix(region, "cn-") && !strings.HasPrefix(region, "us-iso")
}

// awsRegion is two letters, words and a number: eu-central-1.
func awsRegion(s string) bool {
	parts := strings.Split(s, "-")
	n := len(parts)
	if n < 3 || n > 4 || len(parts[0]) != 2 || len(parts[n-1]) != 1 || parts[n-1][0] < '1' || parts[n-1][0] > '9' {
		return false
	}
	for _, p := range parts[:n-1] {
		if p == "" || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz") != "" {
			return false
		}
	}
	return true
}

func label(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == "" && s[0] != '-'
}

func alphanumeric(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}
