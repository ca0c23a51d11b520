package main

import (
	"regexp"
	"testing"
)

func TestParseWrk(t *testing.T) {
	const good = `Running 2s test @ http://127.0.0.1:8080/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.06ms    1.39ms  22.12ms   83.63%
    Req/Sec    16.63k     1.53k   20.02k    70.00%
  Latency Distribution
     50%    1.75ms
     75%    2.48ms
     90%    3.65ms
     99%    1.20s
  66234 requests in 2.01s, 53.69MB read
Requests/sec:  32990.92
Transfer/sec:     26.74MB
`
	r, err := parseWrk(good)
	if err != nil || r != (wrkRun{rate: 32990.92, p50: 1.75, p99: 1200, count: 66234}) {
		t.Errorf("%+v, %v", r, err)
	}
	// It pads what it says in seconds.
	if r, err := parseWrk(regexp.MustCompile(`(?m)99%.*$`).ReplaceAllString(good, "99%    1.03s ")); err != nil || r.p99 != 1030 {
		t.Errorf("%+v %v", r, err)
	}
	for _, bad := range []string{"", good[:300], good + "  Non-2xx or 3xx responses: 5\n", good + "  Socket errors: connect 0, read 3, write 0, timeout 0\n"} {
		if _, err := parseWrk(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
