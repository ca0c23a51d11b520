package tshcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"teleport/cli/output"
	"teleport/client"
	"teleport/fault"
	"teleport/sshclient"
)

// maxInFlight bounds the sessions that a bench holds open at once.
const maxInFlight = 200

type benchFlags struct {
	duration time.Duration
	rate     int
	format   string
}

func (a *app) benchCmd() *cobra.Command {
	parent := &cobra.Command{Use: "bench", Short: "Measure a cluster under load", Hidden: true}
	var f benchFlags
	cmd := &cobra.Command{Use: "ssh [user@]host command", Short: "Run a command again and again, each time over a new connection",
		Long: "Runs a command at a steady rate, each time over a new connection, and prints how long it\n" +
			"took from dialling to the command's end. What comes due while too many are still open counts as missed.",
		Example: "  tsh bench ssh --duration=30s --rate=20 root@web-1 true", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.bench(cmd.Context(), f, args[0], strings.Join(args[1:], " "))
		}}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().DurationVar(&f.duration, "duration", 10*time.Second, "for how long")
	cmd.Flags().IntVar(&f.rate, "rate", 10, "sessions a second")
	a.formatFlag(cmd, &f.format, textFormat, jsonFormat)
	parent.AddCommand(cmd)
	return parent
}

// benchResult is what a bench found; times are in milliseconds.
type benchResult struct {
	Sessions int                `json:"sessions"`
	Failed   int                `json:"failed"`
	Missed   int                `json:"missed"`
	Error    string             `json:"error,omitempty"` // the first one
	Millis   map[string]float64 `json:"ms"`

	took []time.Duration
}

func (a *app) bench(ctx context.Context, f benchFlags, host, command string) error {
	if f.rate < 1 || f.rate > 1000 || f.duration < time.Millisecond || f.duration > time.Hour {
		return fault.New(fault.Invalid, "--rate takes 1 to 1000 a second, --duration at most an hour")
	}
	if err := checkFormat(f.format, textFormat, jsonFormat); err != nil {
		return err
	}
	a.global.noResume = true
	c, s, err := a.connect()
	if err != nil {
		return err
	}
	t, err := a.target(s, host, "", 0)
	if err != nil {
		return err
	}
	r := a.load(ctx, f, func() error { return a.once(ctx, c, t, command) })
	if f.format != textFormat {
		return json.NewEncoder(a.out).Encode(r)
	}
	return a.printBench(r)
}

// once is one session from dial to end.
func (a *app) once(ctx context.Context, c *client.Client, t client.Target, command string) error {
	conn, err := a.dialSSH(ctx, c, t, time.Minute)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Run(ctx, sshclient.Command{Line: command})
}

// load runs f at the rate, whatever those before it take.
func (a *app) load(ctx context.Context, f benchFlags, once func() error) *benchResult {
	ctx, cancel := context.WithTimeout(ctx, f.duration)
	defer cancel()
	r := &benchResult{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	open := make(chan struct{}, maxInFlight)
	tick := time.NewTicker(time.Second / time.Duration(f.rate))
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case open <- struct{}{}:
			wg.Go(func() {
				defer func() { <-open }()
				start := time.Now()
				err := once()
				took := time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				r.add(took, err)
			})
		default:
			mu.Lock()
			r.Missed++
			mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	wg.Wait()
	r.finish()
	return r
}

func (r *benchResult) add(took time.Duration, err error) {
	r.Sessions++
	if err == nil {
		r.took = append(r.took, took)
		return
	}
	r.Failed++
	var exit *sshclient.ExitError
	switch {
	case r.Error != "":
	case errors.As(err, &exit):
		r.Error = exit.Error()
	default:
		r.Error = fault.Message(err)
	}
}

// ranks are the shares of sessions that a histogram names.
var ranks = []struct {
	name  string
	share float64
}{{"p25", 0.25}, {"p50", 0.5}, {"p75", 0.75}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1}}

func (r *benchResult) finish() {
	slices.Sort(r.took)
	r.Millis = map[string]float64{}
	for _, q := range ranks {
		if n := len(r.took); n > 0 {
			r.Millis[q.name] = millis(r.took[min(n-1, int(q.share*float64(n)))])
		}
	}
}

func (a *app) printBench(r *benchResult) error {
	fmt.Fprintf(a.out, "%d sessions, %d failed, %d missed\n", r.Sessions, r.Failed, r.Missed)
	if r.Error != "" {
		fmt.Fprintf(a.out, "first failure: %s\n", clean(r.Error))
	}
	if len(r.Millis) == 0 {
		return nil
	}
	t := output.NewTable("Share", "Took (ms)")
	for _, q := range ranks {
		if v, ok := r.Millis[q.name]; ok {
			t.Row(q.name, fmt.Sprintf("%.1f", v))
		}
	}
	return t.Write(a.out, 0)
}
