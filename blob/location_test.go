package blob_test

import (
	"errors"
	"strings"
	"testing"

	"teleport/blob"
	"teleport/fault"
)

func TestParseLocation(t *testing.T) {
	for _, c := range []struct {
		uri  string
		want blob.Location
	}{
		{"file:///var/lib/x/", blob.Location{Scheme: "file", Path: "/var/lib/x"}},
		{"s3://records", blob.Location{Scheme: "s3", Bucket: "records"}},
		{"s3://records/a/b/?region=eu-west-1", blob.Location{Scheme: "s3", Bucket: "records", Prefix: "a/b", Region: "eu-west-1"}},
		{"s3://records?endpoint=minio.example:9000&path_style=true&insecure=true",
			blob.Location{Scheme: "s3", Bucket: "records", Endpoint: "minio.example:9000", PathStyle: true, Insecure: true}},
		{"s3://records?endpoint=http://[::1]:9000", blob.Location{Scheme: "s3", Bucket: "records", Endpoint: "[::1]:9000", Insecure: true}},
		{"s3://records?endpoint=https://h&insecure=false", blob.Location{Scheme: "s3", Bucket: "records", Endpoint: "h"}},
	} {
		got, err := blob.ParseLocation(c.uri)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", c.uri, got, err)
		}
	}
}

func TestParseLocationRefuses(t *testing.T) {
	for _, uri := range []string{"", "/var/lib", "file://host/x", "file:///", "file:x", "file:///x?y=1", "file:///x#y", "gs://b", "s3://", "s3:///x",
		"s3://B_d", "s3://ok/../x", "s3://ok/a//b", "s3://ok/a b", "s3://key:secret@ok/x", "s3://ok?endpoint=h/path", "s3://ok?endpoint=", "s3://ok?endpoint=u@h",
		"s3://ok?region=", "s3://ok?region=a%20b", "s3://ok?path_style=maybe", "s3://ok?region=a&region=b", "s3://ok?regoin=a", "s3://ok?a=%zz", "s3://ok#f",
		"s3://ok/" + strings.Repeat("a", 300)} {
		if got, err := blob.ParseLocation(uri); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s is taken as %+v, %v", uri, got, err)
		}
	}
}

func FuzzParseLocation(f *testing.F) {
	f.Add("s3://records/a?endpoint=h:1&path_style=true")
	f.Add("file:///x")
	f.Fuzz(func(t *testing.T, uri string) {
		l, err := blob.ParseLocation(uri)
		if err == nil && (l.Scheme == "file") == (l.Path == "") {
			t.Errorf("%q: %+v", uri, l)
		}
	})
}
