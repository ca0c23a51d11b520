package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"teleport/api/gen/recordingv1"
	"teleport/client"
)

// commandEvery is how often each live session gets a command.
const commandEvery = time.Second

// measureLive holds many sessions at once in which people work: in each a command
// is typed every second, and its output awaited. It looks at the memory of a
// session, and at how long the answers take when all are there.
func (b *bench) measureLive(ctx context.Context) error {
	held := &holder{}
	defer held.release()
	c, err := b.client()
	if err != nil {
		return err
	}
	begun := time.Now()
	names := []string{"proxy", "agent"}
	var counts []float64
	resident, live := map[string][]float64{}, map[string][]float64{}
	for _, n := range steps(b.live) {
		for len(held.shells) < n {
			if _, err := held.open(ctx, c, b.login); err != nil {
				return fmt.Errorf("session %d: %w", len(held.shells), err)
			}
		}
		if _, err := held.converse(ctx, 3); err != nil {
			return err
		}
		counts = append(counts, float64(n))
		for _, name := range names {
			m, err := b.cl.memory(ctx, name)
			if err != nil {
				return err
			}
			resident[name], live[name] = append(resident[name], float64(m.resident)), append(live[name], float64(m.live))
		}
	}
	b.heap(ctx, "live", names...)
	mode, err := b.cl.recordingMode()
	if err != nil {
		return err
	}
	t := b.table.section(fmt.Sprintf("%d live sessions at once, recorded: %s (a command in each every second; memory is the slope over %s)", b.live, mode, join(counts)),
		"process", "resident KiB a session", "heap and stacks in use KiB a session", "to reach KiB", "CPU with all, % of a core")
	err = b.allLive(ctx, t, held, func(name string) []string {
		goal := map[string]string{"proxy": "≤ 256", "agent": "≤ 3072, recorded"}[name]
		return []string{name, fmt.Sprintf("%.0f", slope(counts, resident[name])/1024), fmt.Sprintf("%.0f", slope(counts, live[name])/1024), goal}
	}, names)
	if err != nil {
		return err
	}
	held.release()
	return b.storedSince(ctx, c, begun, b.live)
}

// storedSince waits until auth has stored the recordings of n sessions that began
// after a moment: so many were live, and none of them is lost.
func (b *bench) storedSince(ctx context.Context, c *client.Client, begun time.Time, n int) error {
	const within = 2 * time.Minute
	api, err := c.API()
	if err != nil {
		return err
	}
	defer api.Close()
	stored := 0
	for end := time.Now().Add(within); time.Now().Before(end); {
		stored = 0
		req := &recordingv1.ListRequest{FromUnixNano: begun.UnixNano(), User: userName, Limit: 100}
		for {
			list, err := api.ListRecordings(ctx, req)
			if err != nil {
				return err
			}
			for _, r := range list.Recordings {
				if r.State == "stored" && r.Interactive {
					stored++
				}
			}
			if req.PageToken = list.NextPageToken; req.PageToken == "" {
				break
			}
		}
		if stored == n {
			return nil
		}
		if err := rest(ctx, time.Second); err != nil {
			return err
		}
	}
	return fmt.Errorf("of %d sessions %d are stored as recordings within %s", n, stored, within)
}

// allLive lets all sessions work for a while, and fills the table.
func (b *bench) allLive(ctx context.Context, t *section, held *holder, row func(string) []string, names []string) error {
	rounds := 20
	if b.quick {
		rounds = 3
	}
	before := map[string]usage{}
	for _, name := range names {
		u, err := cpu(b.cl.servers[name].pid())
		if err != nil {
			return err
		}
		before[name] = u
	}
	begun := time.Now()
	times, err := held.converse(ctx, rounds)
	if err != nil {
		return err
	}
	took := time.Since(begun)
	for _, name := range names {
		u, err := cpu(b.cl.servers[name].pid())
		if err != nil {
			return err
		}
		t.row(append(row(name), fmt.Sprintf("%.0f", 100*u.minus(before[name]).own.Seconds()/took.Seconds()))...)
	}
	t.note("A command's answer with all of them: p50 %.1f ms, p99 %.1f ms, worst %.1f ms, of %d.",
		median(times), percentile(times, 0.99), percentile(times, 1), len(times))
	return nil
}

// converse types commands into all sessions, one a second in each, at moments
// spread over the second, and returns in ms how long the answers took.
func (h *holder) converse(ctx context.Context, rounds int) ([]float64, error) {
	times := make([][]float64, len(h.shells))
	g, ctx := errgroup.WithContext(ctx)
	for i, sh := range h.shells {
		g.Go(func() error {
			if err := rest(ctx, commandEvery*time.Duration(i)/time.Duration(len(h.shells))); err != nil {
				return err
			}
			for n := range rounds {
				begun := time.Now()
				if err := sh.ask(n); err != nil {
					return fmt.Errorf("session %d: %w", i, err)
				}
				took := time.Since(begun)
				times[i] = append(times[i], millis(took))
				if err := rest(ctx, max(commandEvery-took, 0)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []float64
	for _, list := range times {
		all = append(all, list...)
	}
	return all, nil
}

// ask has the shell reckon and waits for the result, which is not in what the
// terminal shows of the typing.
func (sh *openShell) ask(n int) error {
	const answered = 30 * time.Second
	defer time.AfterFunc(answered, func() { sh.screen.CloseWithError(fmt.Errorf("no answer within %s", answered)) }).Stop()
	if _, err := io.WriteString(sh.keys, "echo =$(("+strconv.Itoa(n)+"+100000))=\r"); err != nil {
		return err
	}
	want := []byte("=" + strconv.Itoa(n+100000) + "=")
	for {
		line, err := sh.shown.ReadSlice('\n')
		if bytes.Contains(line, want) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
