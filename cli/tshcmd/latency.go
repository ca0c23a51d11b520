package tshcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/terminal"
	"teleport/fault"
	"teleport/sshclient"
)

const latencyLong = `Measure how long a keystroke is on the way to a server and back.

The first number is the round trip between this machine and the proxy, the second
the rest of the way, from the proxy to the server and back: what a round trip to
the server takes longer. In a terminal it goes on until Ctrl-C; elsewhere
--samples are taken.`

type latencyFlags struct {
	samples int
	every   time.Duration
	format  string
}

func (a *app) latencyCmd() *cobra.Command {
	parent := &cobra.Command{Use: "latency", Short: "Measure round trips"}
	var f latencyFlags
	cmd := &cobra.Command{Use: "ssh [user@]host", Short: "Measure round trips to the proxy and to a server", Long: latencyLong,
		Example: "  tsh latency ssh root@web-1\n  tsh latency ssh root@web-1 --samples=20 --format=json",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error { return a.latency(cmd.Context(), f, args[0]) }}
	cmd.Flags().IntVar(&f.samples, "samples", 0, "how many to take (default: 10, in a terminal until Ctrl-C)")
	cmd.Flags().DurationVar(&f.every, "interval", 200*time.Millisecond, "time between samples")
	a.formatFlag(cmd, &f.format, textFormat, jsonFormat)
	parent.AddCommand(cmd)
	return parent
}

// roundTrip is one sample, in milliseconds.
type roundTrip struct {
	Proxy float64 `json:"client_proxy_ms"`
	Node  float64 `json:"proxy_node_ms"`
	Total float64 `json:"total_ms"`
}

func (a *app) latency(ctx context.Context, f latencyFlags, host string) error {
	live := terminal.Is(a.out) && f.samples == 0 && f.format == textFormat
	switch {
	case f.samples < 0 || f.samples > 10000:
		return fault.New(fault.Invalid, "--samples takes a number from 1 to 10000")
	case f.every < 10*time.Millisecond:
		return fault.New(fault.Invalid, "--interval must be at least 10ms")
	case f.samples == 0:
		f.samples = 10
	}
	if err := checkFormat(f.format, textFormat, jsonFormat); err != nil {
		return err
	}
	c, s, err := a.connect()
	if err != nil {
		return err
	}
	t, err := a.target(s, host, "", 0)
	if err != nil {
		return err
	}
	conn, err := a.dialSSH(ctx, c, t, 0)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// Nothing that this connection says is believed: only its time counts.
	web := client.NewWeb(s.profile.WebProxyAddr, client.WebOptions{Insecure: true})
	defer web.Close()
	near := func(ctx context.Context) (time.Duration, error) {
		start := time.Now()
		_, err := web.Ping(ctx)
		return time.Since(start), err
	}
	return a.sample(ctx, f, live, near, conn)
}

// sample takes and shows samples. The first is not shown: it makes connections.
func (a *app) sample(ctx context.Context, f latencyFlags, live bool, near func(context.Context) (time.Duration, error), conn *sshclient.Client) error {
	var all []roundTrip
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for i := 0; live || i <= f.samples; i++ {
		r, err := measure(ctx, near, conn)
		if err != nil {
			return err
		}
		switch {
		case i == 0:
			continue
		case live:
			fmt.Fprintf(a.out, "\rclient–proxy %8.2f ms   proxy–server %8.2f ms   total %8.2f ms ", r.Proxy, r.Node, r.Total)
		case f.format == textFormat:
			fmt.Fprintf(a.out, "client–proxy %.2f ms  proxy–server %.2f ms  total %.2f ms\n", r.Proxy, r.Node, r.Total)
		}
		if !live {
			all = append(all, r)
		}
		if !live && i == f.samples {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if f.format != textFormat {
		return json.NewEncoder(a.out).Encode(map[string]any{"samples": all, "median": medianTrip(all)})
	}
	m := medianTrip(all)
	_, err := fmt.Fprintf(a.out, "median: client–proxy %.2f ms  proxy–server %.2f ms  total %.2f ms\n", m.Proxy, m.Node, m.Total)
	return err
}

func measure(ctx context.Context, near func(context.Context) (time.Duration, error), conn *sshclient.Client) (roundTrip, error) {
	p, err := near(ctx)
	if err != nil {
		return roundTrip{}, err
	}
	start := time.Now()
	if err := conn.Keepalive(); err != nil {
		return roundTrip{}, fault.Wrap(err, fault.Unavailable, "the connection was lost")
	}
	total := time.Since(start)
	return roundTrip{millis(p), millis(max(0, total-p)), millis(total)}, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func medianTrip(all []roundTrip) roundTrip {
	of := func(get func(roundTrip) float64) float64 {
		list := make([]float64, len(all))
		for i, r := range all {
			list[i] = get(r)
		}
		slices.Sort(list)
		if len(list) == 0 {
			return 0
		}
		return list[len(list)/2]
	}
	return roundTrip{of(func(r roundTrip) float64 { return r.Proxy }), of(func(r roundTrip) float64 { return r.Node }), of(func(r roundTrip) float64 { return r.Total })}
}
