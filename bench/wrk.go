package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// wrkRun is what one run of wrk tells.
type wrkRun struct {
	rate     float64 // requests a second
	p50, p99 float64 // ms
	count    int
}

var (
	wrkRate    = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkCount   = regexp.MustCompile(`(\d+) requests in `)
	wrkLatency = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([0-9.]+)(us|ms|s) *$`)
	wrkFailure = regexp.MustCompile(`(?m)^.*(Non-2xx|Socket errors).*$`)
)

// wrk asks for one address again and again.
func wrk(ctx context.Context, d time.Duration, connections int, url string, headers []string) (r wrkRun, err error) {
	args := []string{"-t" + strconv.Itoa(min(2, connections)), "-c" + strconv.Itoa(connections), "-d" + strconv.Itoa(int(d.Seconds())) + "s", "--latency", "--timeout=10s"}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	out, err := output(exec.CommandContext(ctx, "wrk", append(args, url)...))
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, out)
	}
	return parseWrk(out)
}

func parseWrk(out string) (r wrkRun, err error) {
	rate, count, latencies := wrkRate.FindStringSubmatch(out), wrkCount.FindStringSubmatch(out), wrkLatency.FindAllStringSubmatch(out, -1)
	if failed := wrkFailure.FindString(out); failed != "" || rate == nil || count == nil || len(latencies) != 2 {
		return r, fmt.Errorf("wrk says: %s", out)
	}
	r.rate, _ = strconv.ParseFloat(rate[1], 64)
	r.count, _ = strconv.Atoi(count[1])
	for _, l := range latencies {
		took, err := time.ParseDuration(l[2] + l[3])
		if err != nil {
			return r, err
		}
		if l[1] == "50" {
			r.p50 = millis(took)
		} else {
			r.p99 = millis(took)
		}
	}
	return r, nil
}
