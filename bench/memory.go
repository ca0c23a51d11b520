package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"teleport/client"
	"teleport/client/profile"
	"teleport/sshclient"
)

// memory is what a process holds: what the kernel counts as resident, and what
// its heap and stacks use right after a collection. The difference is what the
// collector keeps so as to run seldom.
type memory struct{ resident, live int64 }

// memory of a server of ours, after collections that its debug socket starts.
func (c *cluster) memory(ctx context.Context, name string) (m memory, err error) {
	hc := c.debugClient(name)
	for range 3 { // each collection halves the stacks that a handshake has grown
		if err := get(ctx, hc, "http://debug/debug/pprof/heap?gc=1", io.Discard); err != nil {
			return m, err
		}
	}
	var text strings.Builder
	if err := get(ctx, hc, "http://debug/metrics", &text); err != nil {
		return m, err
	}
	if m.live, err = liveBytes(text.String()); err != nil {
		return m, err
	}
	if err := rest(ctx, time.Second); err != nil { // the collector gives pages back in the background
		return m, err
	}
	m.resident, err = resident(c.servers[name].pid())
	return m, err
}

func get(ctx context.Context, hc *http.Client, url string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// liveBytes adds up heap and stacks in use, from the metrics page.
func liveBytes(metrics string) (int64, error) {
	var sum float64
	found := 0
	for line := range strings.Lines(metrics) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != "go_memstats_heap_inuse_bytes" && name != "go_memstats_stack_inuse_bytes" {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum += v
		found++
	}
	if found != 2 {
		return 0, errors.New("the metrics page does not tell heap and stacks")
	}
	return int64(sum), nil
}

// measureSessions holds more and more idle shells with a terminal, and looks at
// how the memory of proxy and agent grows.
func (b *bench) measureSessions(ctx context.Context) error {
	held := &holder{}
	defer held.release()
	c, err := b.client()
	if err != nil {
		return err
	}
	var counts []float64
	series := map[string][2][]float64{} // resident, live
	for _, n := range steps(b.idle) {
		for len(held.shells) < n {
			sh, err := held.open(ctx, c, b.login)
			if err != nil {
				return err
			}
			held.work.Go(sh.ignore)
		}
		counts = append(counts, float64(n))
		for _, name := range []string{"proxy", "agent"} {
			m, err := b.cl.memory(ctx, name)
			if err != nil {
				return err
			}
			s := series[name]
			s[0], s[1] = append(s[0], float64(m.resident)), append(s[1], float64(m.live))
			series[name] = s
		}
	}
	b.heap(ctx, "memory", "proxy", "agent")
	t := b.table.section(fmt.Sprintf("Memory of an idle session (a shell with a terminal; slope over %s)", join(counts)),
		"process", "resident KiB", "heap and stacks in use KiB", "to reach KiB")
	for _, r := range []struct{ name, goal string }{{"proxy", "≤ 256"}, {"agent", "≤ 2048"}} {
		s := series[r.name]
		t.row(r.name, fmt.Sprintf("%.0f", slope(counts, s[0])/1024), fmt.Sprintf("%.0f", slope(counts, s[1])/1024), r.goal)
	}
	return nil
}

// steps are the five counts at which memory is looked at, from ten on.
func steps(most int) []int {
	var list []int
	for i := range 5 {
		list = append(list, 10+(max(most, 15)-10)*i/4)
	}
	return list
}

func join(v []float64) string {
	var s []string
	for _, x := range v {
		s = append(s, strconv.FormatFloat(x, 'f', -1, 64))
	}
	return strings.Join(s, ", ")
}

// client is tsh's own client with the log-in of the user, in this process.
func (b *bench) client() (*client.Client, error) {
	dir, err := profile.Open(b.cl.home)
	if err != nil {
		return nil, err
	}
	p, err := dir.Current()
	if err != nil {
		return nil, err
	}
	cred, err := dir.Credential(p)
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{ProxyAddr: p.WebProxyAddr, Cluster: p.Cluster, Credential: cred})
}

// holder keeps sessions open. It is used by one goroutine.
type holder struct {
	shells []*openShell
	work   sync.WaitGroup
}

// openShell is a session with a terminal, as a program uses it.
type openShell struct {
	conn   *sshclient.Client
	keys   *io.PipeWriter
	typed  *io.PipeReader
	screen *io.PipeReader
	shown  *bufio.Reader
	ended  chan time.Time // when it ended, once
}

// open starts a shell and waits for its first words.
func (h *holder) open(ctx context.Context, c *client.Client, login string) (*openShell, error) {
	conn, err := c.SSH(ctx, client.Target{Host: "agent", Login: login}, io.Discard)
	if err != nil {
		return nil, err
	}
	sh := &openShell{conn: conn, ended: make(chan time.Time, 1)}
	sh.typed, sh.keys = io.Pipe()
	var out *io.PipeWriter
	sh.screen, out = io.Pipe()
	sh.shown = bufio.NewReader(sh.screen)
	h.shells = append(h.shells, sh)
	h.work.Go(func() {
		err := conn.Run(ctx, sshclient.Command{Stdin: sh.typed, Stdout: out, Stderr: out,
			Terminal: &sshclient.Terminal{Term: "xterm", Columns: 80, Rows: 24}})
		sh.ended <- time.Now()
		out.CloseWithError(errors.Join(errors.New("the shell ended"), err))
	})
	if _, err := sh.shown.ReadByte(); err != nil {
		return nil, err
	}
	return sh, sh.shown.UnreadByte()
}

// ignore drops what the shell shows from now on, until it ends.
func (sh *openShell) ignore() { io.Copy(io.Discard, sh.shown) } //nolint:errcheck // until it is closed

// release ends all sessions and waits for them.
func (h *holder) release() {
	for _, sh := range h.shells {
		sh.conn.Close()
		sh.typed.Close()
		sh.screen.Close()
	}
	h.work.Wait()
	h.shells = nil
}
