package cloudhost

import "strings"

const googleDomain = ".googleapis.com"

// Google is an API of Google Cloud.
type Google struct {
	Host    string
	Service string // storage, compute, us-central1-aiplatform
	Bucket  string // that a storage host names
}

// ParseGoogle reads a host, without its port. All of googleapis.com is Google's
// own; only buckets are named by its customers.
func ParseGoogle(host string) (Google, bool) {
	name, ok := strings.CutSuffix(host, googleDomain)
	if !ok || len(host) > maxHost {
		return Google{}, false
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if !label(l) {
			return Google{}, false
		}
	}
	n := len(labels) - 1
	if labels[n] == "storage" || labels[n] == "mtls" || labels[n] == "rep" || n == 0 {
		g := Google{Host: host, Service: labels[n]}
		switch {
		case labels[n] == "storage":
			g.Bucket = strings.Join(labels[:n], ".")
		case n > 0:
			g.Service = labels[0]
		}
		return g, true
	}
	return Google{}, false
}
