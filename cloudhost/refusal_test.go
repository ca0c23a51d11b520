package cloudhost

import (
	"errors"
	"strings"
	"testing"

	"teleport/fault"
)

func TestRefusalsInEveryForm(t *testing.T) {
	why := fault.New(fault.Denied, "no <role>").WithHint("ask")
	for w, want := range map[Wire]string{
		WireAWSJSON:      `{"__type":"AccessDeniedException","message":"no \u003crole\u003e (ask)"}`,
		WireS3:           `<Error><Code>AccessDenied</Code><Message>no &lt;role&gt; (ask)</Message><RequestId>r1</RequestId></Error>`,
		WireAWSQuery:     `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no &lt;role&gt; (ask)</Message></Error><RequestId>r1</RequestId></ErrorResponse>`,
		WireEC2:          `<Response><Errors><Error><Code>AccessDenied</Code><Message>no &lt;role&gt; (ask)</Message></Error></Errors><RequestID>r1</RequestID></Response>`,
		WireAzure:        `{"error":{"code":"AccessDenied","message":"no \u003crole\u003e (ask)"}}`,
		WireAzureStorage: `<Error><Code>AccessDenied</Code><Message>no &lt;role&gt; (ask)</Message></Error>`,
		WireGoogle:       `{"error":{"code":403,"message":"no \u003crole\u003e (ask)","status":"PERMISSION_DENIED"}}`,
	} {
		r := Refuse(w, why, "r1")
		_, body, _ := strings.Cut(string(r.Body), "?>\n")
		if body == "" {
			body = string(r.Body)
		}
		if r.Status != 403 || body != want {
			t.Errorf("%d: %d %s", w, r.Status, r.Body)
		}
	}
	for err, want := range map[error]int{fault.New(fault.Unavailable, "x"): 503, fault.New(fault.Limit, "x"): 400, fault.New(fault.Unimplemented, "x"): 400, errors.New("x"): 500} {
		if r := Refuse(WireS3, err, ""); r.Status != want {
			t.Errorf("%v: %d", err, r.Status)
		}
	}
}

func TestFormsOfClients(t *testing.T) {
	for _, c := range []struct {
		service, media string
		want           Wire
	}{{"s3", "", WireS3}, {"ec2", "application/x-www-form-urlencoded", WireEC2}, {"sts", "application/x-www-form-urlencoded; charset=utf-8", WireAWSQuery},
		{"dynamodb", "application/x-amz-json-1.0", WireAWSJSON}, {"lambda", "", WireAWSJSON}} {
		if got := AWSWire(c.service, c.media); got != c.want {
			t.Errorf("%s %s: %d", c.service, c.media, got)
		}
	}
	if AzureWire("a.blob.core.windows.net") != WireAzureStorage || AzureWire("management.azure.com") != WireAzure {
		t.Error("Azure")
	}
}
