package cloudhost

import (
	"strings"
	"testing"
)

func TestAWSHosts(t *testing.T) {
	for host, want := range map[string]string{
		"s3.amazonaws.com":                                       "s3 us-east-1 ",
		"s3.eu-west-1.amazonaws.com":                             "s3 eu-west-1 ",
		"s3-eu-west-1.amazonaws.com":                             "s3 eu-west-1 ",
		"photos.s3.eu-west-1.amazonaws.com":                      "s3 eu-west-1 photos",
		"my.photos.s3.amazonaws.com":                             "s3 us-east-1 my.photos",
		"photos.s3.dualstack.eu-west-1.amazonaws.com":            "s3 eu-west-1 photos",
		"photos.s3-fips.us-gov-west-1.amazonaws.com":             "s3 us-gov-west-1 photos",
		"ap-123456789012.s3-accesspoint.eu-west-1.amazonaws.com": "s3 eu-west-1 ap-123456789012",
		"123456789012.s3-control.eu-west-1.amazonaws.com":        "s3 eu-west-1 ",
		"s3.cn-north-1.amazonaws.com.cn":                         "s3 cn-north-1 ",
		"sts.amazonaws.com":                                      "sts us-east-1 ",
		"sts.eu-central-1.amazonaws.com":                         "sts eu-central-1 ",
		"sts-fips.us-east-1.amazonaws.com":                       "sts us-east-1 ",
		"iam.amazonaws.com":                                      "iam us-east-1 ",
		"iam.us-gov.amazonaws.com":                               "iam us-gov-west-1 ",
		"iam.cn-north-1.amazonaws.com.cn":                        "iam cn-north-1 ",
		"organizations.us-east-1.amazonaws.com":                  "organizations us-east-1 ",
		"global.health.amazonaws.com":                            "health us-east-1 ",
		"ec2.ap-southeast-2.amazonaws.com":                       "ec2 ap-southeast-2 ",
		"ec2.eu-west-1.api.aws":                                  "ec2 eu-west-1 ",
		"email.eu-west-1.amazonaws.com":                          "ses eu-west-1 ",
		"api.ecr.eu-west-1.amazonaws.com":                        "ecr eu-west-1 ",
		"streams.dynamodb.eu-west-1.amazonaws.com":               "dynamodb eu-west-1 ",
		"123456789012.ddb.eu-west-1.amazonaws.com":               "dynamodb eu-west-1 ",
		"a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com":         "execute-api eu-west-1 ",
		"runtime.sagemaker.us-west-2.amazonaws.com":              "sagemaker us-west-2 ",
		"bedrock-runtime.us-west-2.amazonaws.com":                "bedrock us-west-2 ",
		"kendra-ranking.us-west-2.api.aws":                       "kendra-ranking us-west-2 ",
	} {
		a, ok := ParseAWS(host)
		if got := a.Service + " " + a.Region + " " + a.Bucket; !ok || got != want || !a.Signs(a.Service, a.Region) || a.Host != host {
			t.Errorf("%s: got %q, %v", host, got, ok)
		}
	}
	mail, _ := ParseAWS("email.eu-west-1.amazonaws.com")
	if !mail.Signs("ses", "eu-west-1") || mail.Signs("s3", "eu-west-1") || mail.Signs("ses", "us-east-1") {
		t.Errorf("got %v", mail.Names)
	}
	for region, want := range map[string]bool{"us-east-1": true, "eu-west-1": true, "cn-north-1": false, "us-gov-west-1": false, "": false} {
		if all, _ := ParseAWS("s3.amazonaws.com"); all.Signs("s3", region) != want {
			t.Errorf("S3's own host and the region %q: %v", region, !want)
		}
	}
}

// TestHostsOfTenants are those that AWS's, Azure's and Google's customers can have,
// and what only looks like an endpoint.
func TestHostsOfTenants(t *testing.T) {
	for _, host := range []string{
		"", "amazonaws.com", ".amazonaws.com", "evil.test", "s3.amazonaws.com.evil.test", "S3.amazonaws.com", "s3.amazonaws.com.", "s3.amazonaws.com:443",
		"lb-123.eu-west-1.elb.amazonaws.com", "internal-x.elb.amazonaws.com", "ec2-1-2-3-4.compute-1.amazonaws.com", "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com",
		"db.abcdef.eu-west-1.rds.amazonaws.com", "search-x.eu-west-1.es.amazonaws.com", "x.y.execute-api.eu-west-1.amazonaws.com", "evil.amazonaws.com",
		"a..s3.amazonaws.com", "-a.s3.amazonaws.com", "a/b.s3.amazonaws.com", "a@b.s3.amazonaws.com", "eu-west-1.amazonaws.com",
		"ec2.cn-north-1.amazonaws.com", "ec2.eu-west-1.amazonaws.com.cn", "ec2.us-iso-east-1.amazonaws.com", "x.vpce-1.s3.eu-west-1.vpce.amazonaws.com",
		"evil.s3-control.amazonaws.com", "on.aws", "x.lambda-url.eu-west-1.on.aws", "s3.eu-west-1.api.aws.evil", strings.Repeat("a.", 130) + "s3.amazonaws.com",
	} {
		if a, ok := ParseAWS(host); ok {
			t.Errorf("%q is %+v", host, a)
		}
	}
	for _, host := range []string{"", "azure.com", "evil.azurewebsites.net", "vm.westeurope.cloudapp.azure.com", "management.azure.com.evil.test", "xmanagement.azure.com",
		".blob.core.windows.net", "blob.core.windows.net", "a.b.blob.core.windows.net", "login.microsoftonline.com", "Management.azure.com", "a%2f.vault.azure.net",
		"relay.servicebus.windows.net", "relay.servicebus.usgovcloudapi.net", "relay.servicebus.chinacloudapi.cn"} { // whose owner sees what is sent there
		if a, ok := ParseAzure(host); ok {
			t.Errorf("%q is %+v", host, a)
		}
	}
	for _, host := range []string{"", "googleapis.com", ".googleapis.com", "evil.run.app", "storage.googleapis.com.evil.test", "x.appspot.com", "a..storage.googleapis.com",
		"x.y.googleapis.com", "storage.googleapis.com:443", "STORAGE.googleapis.com"} {
		if g, ok := ParseGoogle(host); ok {
			t.Errorf("%q is %+v", host, g)
		}
	}
}

func TestAzureHosts(t *testing.T) {
	for host, want := range map[string]Azure{
		"management.azure.com":        {Audience: "https://management.azure.com/"},
		"demo.blob.core.windows.net":  {Audience: "https://storage.azure.com/", Instance: "demo"},
		"my-vault.vault.azure.net":    {Audience: "https://vault.azure.net", Instance: "my-vault"},
		"management.core.windows.net": {Audience: "https://management.core.windows.net/"},
	} {
		want.Host = host
		if got, ok := ParseAzure(host); !ok || got != want {
			t.Errorf("%s: got %+v, %v", host, got, ok)
		}
	}
	manager, _ := ParseAzure("management.azure.com")
	for resource, want := range map[string]bool{"https://management.core.windows.net/": true, "https://management.azure.com": true, "https://management.azure.com/": true,
		"https://storage.azure.com/": false, "https://evil.test": false, "": false} {
		if got := manager.Takes(resource); got != want {
			t.Errorf("%q: %v", resource, got)
		}
	}
}

func TestGoogleHosts(t *testing.T) {
	for host, want := range map[string]Google{
		"storage.googleapis.com":                {Service: "storage"},
		"photos.storage.googleapis.com":         {Service: "storage", Bucket: "photos"},
		"compute.googleapis.com":                {Service: "compute"},
		"compute.mtls.googleapis.com":           {Service: "compute"},
		"us-central1-aiplatform.googleapis.com": {Service: "us-central1-aiplatform"},
	} {
		want.Host = host
		if got, ok := ParseGoogle(host); !ok || got != want {
			t.Errorf("%s: got %+v, %v", host, got, ok)
		}
	}
}

// FuzzHosts wants every host that is accepted to end with a domain of its cloud,
// and to name a service.
func FuzzHosts(f *testing.F) {
	for _, s := range []string{"s3.eu-west-1.amazonaws.com", "a.b.blob.core.windows.net", "x.storage.googleapis.com", "iam.us-gov.amazonaws.com", "s3-.amazonaws.com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if a, ok := ParseAWS(host); ok && (a.Service == "" || !awsRegion(a.Region) || strings.ContainsAny(host, "/@:?# %") || !a.Signs(a.Service, a.Region)) {
			t.Errorf("%q: %+v", host, a)
		}
		if a, ok := ParseAzure(host); ok && (a.Audience == "" || strings.ContainsAny(host, "/@:?# %")) {
			t.Errorf("%q: %+v", host, a)
		}
		if g, ok := ParseGoogle(host); ok && (g.Service == "" || strings.ContainsAny(host, "/@:?# %")) {
			t.Errorf("%q: %+v", host, g)
		}
	})
}
