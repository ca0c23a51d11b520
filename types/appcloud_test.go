package types

import (
	"errors"
	"strings"
	"testing"

	"teleport/fault"
)

func cloudApp(spec AppSpec) *App {
	return &App{Header: Header{Kind: KindApp, Version: "v3", Metadata: Metadata{Name: "x"}}, Spec: spec}
}

// TestCloudsOfAnAppAreChecked: what goes to an endpoint carries credentials of a
// cloud, so it is a place that the document means, and no other hears them.
func TestCloudsOfAnAppAreChecked(t *testing.T) {
	at := func(service, endpoint string) AppSpec {
		return AppSpec{URI: "cloud://AWS", CloudEndpoints: map[string]string{service: endpoint}}
	}
	for name, spec := range map[string]AppSpec{
		"no cloud":                   {URI: "http://localhost:1", CloudEndpoints: map[string]string{"s3": "https://s3.test"}},
		"of no service":              at("", "https://s3.test"),
		"a host for a service":       at("s3.evil.test", "https://s3.test"),
		"a service in capitals":      at("S3", "https://s3.test"),
		"no URL":                     at("s3", "s3.test"),
		"an empty one":               at("s3", ""),
		"a path alone":               at("s3", "/s3"),
		"another scheme":             at("s3", "ftp://s3.test"),
		"a file":                     at("s3", "file:///etc/passwd"),
		"plain text over a network":  at("s3", "http://s3.test"),
		"plain text to an address":   at("s3", "http://10.0.0.1:9000"),
		"a name like this machine's": at("s3", "http://localhost.evil.test"),
		"a user":                     at("s3", "https://user:secret@s3.test"),
		"a query":                    at("s3", "https://s3.test/?x=y"),
		"an empty query":             at("s3", "https://s3.test/?"),
		"a fragment":                 at("s3", "https://s3.test/#x"),
		"a control character":        at("s3", "https://s3.test/\n"),
		"two clouds":                 {URI: "cloud://AWS", Cloud: CloudGCP},
		"a cloud that is not known":  {URI: "cloud://Elsewhere"},
		"a path in a cloud":          {URI: "cloud://AWS/s3"},
		"of AWS elsewhere":           {URI: "cloud://Azure", AWS: &AppAWS{ExternalID: "ours"}},
		"a tcp app":                  {URI: "tcp://localhost:1", Cloud: CloudAWS},
	} {
		if err := cloudApp(spec).Validate(); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spec := range map[string]AppSpec{
		"an endpoint of the network": at("s3", "https://s3.internal:9000/base"),
		"this machine":               at("s3", "http://localhost:9000"),
		"its address":                at("dynamodb-streams", "http://127.0.0.1:9000"),
		"its other address":          at("s3", "http://[::1]:9000"),
		"Azure":                      {URI: "cloud://azure", CloudEndpoints: map[string]string{"blob": "https://blob.internal"}},
		"by its name alone":          {Cloud: CloudGCP},
	} {
		a := cloudApp(spec)
		if err := a.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if a.Spec.Cloud == "" || a.Spec.URI != "cloud://"+a.Spec.Cloud {
			t.Errorf("%s: %q of the cloud %q", name, a.Spec.URI, a.Spec.Cloud)
		}
	}
	if err := cloudApp(at("s3", "https://user:secret@s3.test")).Validate(); strings.Contains(err.Error(), "secret") {
		t.Errorf("the password is told: %v", err)
	}
}
