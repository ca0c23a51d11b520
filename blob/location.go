package blob

import (
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"teleport/fault"
)

// Location says where objects are kept, as a configuration writes it:
//
//	file:///var/lib/teleport/log/records
//	s3://bucket/prefix?region=eu-west-1&endpoint=https://host:9000&path_style=true&insecure=true
//
// Credentials are not part of it.
type Location struct {
	Scheme string // file, s3
	Path   string // file: absolute directory

	Bucket    string // s3
	Prefix    string // s3: before all keys, without slashes around it; may be empty
	Region    string // s3: "" is what the environment says
	Endpoint  string // s3: host, or host:port; "" is Amazon's
	PathStyle bool   // s3: the bucket stands in the path, not in the host name
	Insecure  bool   // s3: plain HTTP
}

var (
	bucketName   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionName   = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	endpointName = regexp.MustCompile(`^([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)
)

// ParseLocation reads a URI strictly: what it does not know is fault.Invalid.
func ParseLocation(uri string) (Location, error) {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return Location{}, fault.New(fault.Invalid, "%.200q is not a URI", uri)
	case u.User != nil:
		return Location{}, fault.New(fault.Invalid, "the URI of a storage holds no credentials").
			WithHint("give them in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case u.Fragment != "" || u.Opaque != "":
		return Location{}, fault.New(fault.Invalid, "%.200q is not the URI of a storage", uri)
	}
	switch u.Scheme {
	case "file":
		return fileLocation(u)
	case "s3":
		return s3Location(u)
	}
	return Location{}, fault.New(fault.Invalid, "the storage %.200q is not in this version", uri).WithHint("write file:///directory or s3://bucket/prefix")
}

func fileLocation(u *url.URL) (Location, error) {
	if u.Host != "" || u.RawQuery != "" || !filepath.IsAbs(u.Path) || filepath.Clean(u.Path) == "/" {
		return Location{}, fault.New(fault.Invalid, "%.200q names no directory", u.String()).WithHint("write file:///absolute/directory")
	}
	return Location{Scheme: "file", Path: filepath.Clean(u.Path)}, nil
}

func s3Location(u *url.URL) (Location, error) {
	l := Location{Scheme: "s3", Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if !bucketName.MatchString(l.Bucket) {
		return l, fault.New(fault.Invalid, "%.100q is no name of a bucket", l.Bucket)
	}
	if err := CheckPrefix(l.Prefix); err != nil || len(l.Prefix) > MaxKey/2 {
		return l, fault.New(fault.Invalid, "the prefix %.100q may hold letters, digits, '-', '_', '.' and single slashes", l.Prefix)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return l, fault.New(fault.Invalid, "the options of the storage cannot be read: %.200q", u.RawQuery)
	}
	for key, values := range query {
		if len(values) != 1 {
			return l, fault.New(fault.Invalid, "the option %q of the storage is said twice", key)
		}
		if err := l.option(key, values[0]); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (l *Location) option(key, value string) error {
	var err error
	switch key {
	case "region":
		if l.Region = value; !regionName.MatchString(value) {
			return fault.New(fault.Invalid, "%.60q is no region", value)
		}
	case "endpoint":
		return l.endpoint(value)
	case "path_style":
		l.PathStyle, err = strconv.ParseBool(value)
	case "insecure":
		l.Insecure, err = strconv.ParseBool(value)
	default:
		return fault.New(fault.Invalid, "the storage has no option %.60q", key).WithHint("options: endpoint, region, path_style, insecure")
	}
	if err != nil {
		return fault.New(fault.Invalid, "%s is true or false, not %.60q", key, value)
	}
	return nil
}

// endpoint takes a host, or a URL without a path. A URL of another kind than the
// option insecure says is refused when the storage is opened.
func (l *Location) endpoint(value string) error {
	host, plain := strings.CutPrefix(value, "http://")
	if !plain {
		host = strings.TrimPrefix(value, "https://")
	}
	l.Endpoint = strings.TrimSuffix(host, "/")
	if !endpointName.MatchString(l.Endpoint) {
		return fault.New(fault.Invalid, "the endpoint %.100q is no host", value).WithHint("write host or host:port")
	}
	l.Insecure = l.Insecure || plain
	return nil
}
