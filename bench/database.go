package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// measureQueries has pgbench select rows by key, with one, eight and many clients
// at a time, by the simple protocol and with prepared statements.
func (b *bench) measureQueries(ctx context.Context) error {
	t := b.table.section(fmt.Sprintf("Queries: pgbench -S for %s, %d times in turns; every statement in the audit log", b.seconds, b.rounds),
		"protocol", "clients", "path", "transactions/s", "÷ HAProxy, median of pairs (quartiles)", "p50 ms", "over direct", "CPU µs a transaction", "of it")
	for _, mode := range []string{"simple", "prepared"} {
		for _, clients := range b.clients {
			if err := b.queries(t, b.db.ways, mode, clients, b.pgbench(ctx, mode, clients, "-S")); err != nil {
				return err
			}
		}
	}
	t.note("To reach: ≥ 0.80 of HAProxy's transactions; p50 at most 0.3 ms over direct. CPU is that of the three processes on the way, and of auth, which stores what happened.")
	return nil
}

// measureConnects has every transaction make a connection of its own.
func (b *bench) measureConnects(ctx context.Context) error {
	t := b.table.section(fmt.Sprintf("Connections: pgbench -S -C for %s, %d times in turns", b.seconds, b.rounds),
		"protocol", "clients", "path", "connections/s", "÷ HAProxy, median of pairs (quartiles)", "p50 ms", "over direct", "CPU µs a connection", "of it")
	for _, clients := range []int{1, 8} {
		if err := b.queries(t, b.db.ways, "simple", clients, b.pgbench(ctx, "simple", clients, "-S", "-C")); err != nil {
			return err
		}
	}
	t.note("To reach: ≥ 0.80 of HAProxy's.")
	return b.measureColdConnect(ctx)
}

// queryRun is what one run of pgbench or sysbench tells.
type queryRun struct {
	tps, p50 float64 // p50 in ms
	count    int
}

// queries has run ask by each way in turns; the last way is the direct one, the
// second the peer.
func (b *bench) queries(t *section, ways []dbContender, mode string, clients int, run func(dbContender) (queryRun, error)) error {
	tps, p50s := make([][]float64, len(ways)), make([][]float64, len(ways))
	tallies, count := make([]tally, len(ways)), make([]int, len(ways))
	for round := range b.rounds {
		for _, i := range turn(len(ways), round) {
			c, t := contender{servers: ways[i].servers}, &tallies[i]
			if err := t.begin(c); err != nil {
				return err
			}
			r, err := run(ways[i])
			if err != nil {
				return fmt.Errorf("%s: %w", ways[i].name, err)
			}
			if err := calm(c.servers); err != nil {
				return err
			}
			if err := t.end(c); err != nil {
				return err
			}
			tps[i], p50s[i] = append(tps[i], r.tps), append(p50s[i], r.p50)
			count[i] += r.count
		}
	}
	last := len(ways) - 1
	for i, w := range ways {
		each := func(d time.Duration) string {
			return fmt.Sprintf("%.0f", float64(d)/float64(time.Microsecond)/float64(max(count[i], 1)))
		}
		own, _, by := tallies[i].sum(contender{servers: w.servers}, each)
		t.row(mode, strconv.Itoa(clients), w.name, fmt.Sprintf("%.0f", median(tps[i])), spread(ratios(tps[i], tps[1])), fmt.Sprintf("%.2f", median(p50s[i])),
			fmt.Sprintf("%+.2f", median(p50s[i])-median(p50s[last])), each(own), strings.Join(by, ", "))
	}
	return nil
}

var (
	pgTPS   = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	pgCount = regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`)
	pgFails = regexp.MustCompile(`(?m)^number of failed transactions: ([0-9]+)`)
)

// pgbench makes one run of a way. The median comes from its log of all transactions.
func (b *bench) pgbench(ctx context.Context, mode string, clients int, args ...string) func(dbContender) (queryRun, error) {
	return func(w dbContender) (queryRun, error) { return b.runPgbench(ctx, w, mode, clients, args) }
}

func (b *bench) runPgbench(ctx context.Context, w dbContender, mode string, clients int, more []string) (r queryRun, err error) {
	dir, err := os.MkdirTemp(b.dir, "pgbench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	args := append([]string{"-n", "-M", mode, "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(int(b.seconds.Seconds())),
		"-l", "--log-prefix=" + filepath.Join(dir, "log")}, more...)
	out, err := output(exec.CommandContext(ctx, "pgbench", append(args, w.conn)...))
	if err != nil {
		return r, err
	}
	tps, count, fails := pgTPS.FindStringSubmatch(out), pgCount.FindStringSubmatch(out), pgFails.FindStringSubmatch(out)
	if tps == nil || count == nil || fails == nil || fails[1] != "0" {
		return r, fmt.Errorf("pgbench says: %s", out)
	}
	r.tps, _ = strconv.ParseFloat(tps[1], 64)
	r.count, _ = strconv.Atoi(count[1])
	times, err := pgTimes(dir)
	r.p50 = median(times)
	return r, err
}

// pgTimes reads the third column of pgbench's logs, µs, as ms.
func pgTimes(dir string) ([]float64, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "log*"))
	if err != nil {
		return nil, err
	}
	var times []float64
	for _, l := range logs {
		text, err := os.ReadFile(l)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 3 {
				continue
			}
			us, err := strconv.ParseFloat(f[2], 64)
			if err != nil {
				return nil, err
			}
			times = append(times, us/1000)
		}
	}
	return times, nil
}

// measureColdConnect tells the first connection after the agent's start, which
// gets a certificate made, from those that follow.
func (b *bench) measureColdConnect(ctx context.Context) error {
	var cold, warm []float64
	for range b.rounds {
		if err := b.freshAgent(ctx); err != nil {
			return err
		}
		for i := range 21 {
			begun := time.Now()
			c, err := pgconn.Connect(ctx, b.db.ways[0].conn)
			if err != nil {
				return err
			}
			took := millis(time.Since(begun))
			if err := c.Close(ctx); err != nil {
				return err
			}
			if i == 0 {
				cold = append(cold, took)
			} else {
				warm = append(warm, took)
			}
		}
	}
	t := b.table.section(fmt.Sprintf("One connection, %d agents that had just started", b.rounds), "which", "p50 ms", "worst ms")
	for _, r := range []struct {
		name  string
		times []float64
	}{{"the first one, whose certificate is made", cold}, {"the next ones", warm}} {
		t.row(r.name, fmt.Sprintf("%.1f", median(r.times)), fmt.Sprintf("%.1f", percentile(r.times, 1)))
	}
	return nil
}

// freshAgent restarts the agent, and waits until a dial reaches it. That one names
// a database that is not there, so that no certificate is made for the real one.
func (b *bench) freshAgent(ctx context.Context) error {
	if err := b.cl.restart(ctx, "pgagent", syscall.SIGTERM); err != nil {
		return err
	}
	b.db.ways[0].servers[2] = b.cl.servers["pgagent"]
	other := strings.Replace(b.db.ways[0].conn, "dbname="+dbName, "dbname=postgres", 1)
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && ctx.Err() == nil; {
		var c *pgconn.PgConn
		if c, err = pgconn.Connect(ctx, other); err == nil {
			return c.Close(ctx)
		}
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "28000" {
			return nil // the agent's own refusal
		}
	}
	return errors.Join(err, ctx.Err())
}

// measureCopy moves a large table's worth of text out of the database and into it.
func (b *bench) measureCopy(ctx context.Context) error {
	rows := b.bytes / 1000
	line := strings.Repeat("x", 999)
	out := fmt.Sprintf(`\copy (select '%s' from generate_series(1,%d)) to /dev/null`, line, rows)
	in := fmt.Sprintf(`\copy sink from program 'yes %s | head -n %d'`, line, rows)
	if _, err := b.psql(ctx, b.db.ways[3], "create unlogged table if not exists sink (line text)"); err != nil {
		return err
	}
	t := b.table.section(fmt.Sprintf("COPY of %.1f GB, %d times each way in turns", float64(rows)/1e6, b.rounds),
		"path", "way", "MB/s", "÷ HAProxy, median of pairs (quartiles)", "CPU ns/byte", "of it")
	for _, way := range []struct{ name, command string }{{"from the database", out}, {"to the database", in}} {
		if err := b.copies(ctx, t, way.name, way.command, rows*1000); err != nil {
			return err
		}
	}
	t.note("To reach: ≥ 0.50 of HAProxy's rate.")
	return nil
}

func (b *bench) copies(ctx context.Context, s *section, name, command string, size int64) error {
	ways := b.db.ways
	tallies := make([]tally, len(ways))
	for round := range b.rounds {
		for _, i := range turn(len(ways), round) {
			c, t := contender{servers: ways[i].servers}, &tallies[i]
			if _, err := b.psql(ctx, ways[3], "truncate sink"); err != nil {
				return err
			}
			if err := t.begin(c); err != nil {
				return err
			}
			begun := time.Now()
			if _, err := b.psql(ctx, ways[i], command); err != nil {
				return fmt.Errorf("%s: %w", ways[i].name, err)
			}
			t.wall = append(t.wall, float64(size)/1e6/time.Since(begun).Seconds())
			if err := t.end(c); err != nil {
				return err
			}
		}
	}
	for i, w := range ways {
		each := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(size)/float64(b.rounds)) }
		own, _, by := tallies[i].sum(contender{servers: w.servers}, each)
		s.row(w.name, name, fmt.Sprintf("%.0f", median(tallies[i].wall)), spread(ratios(tallies[i].wall, tallies[1].wall)), each(own), strings.Join(by, ", "))
	}
	return nil
}

func (b *bench) psql(ctx context.Context, w dbContender, command string) (string, error) {
	return output(exec.CommandContext(ctx, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command, w.conn))
}

// measureIdle holds more and more idle connections, and looks at how the memory
// of the three processes on the way grows.
func (b *bench) measureIdle(ctx context.Context) error {
	var held []*pgconn.PgConn
	defer func() {
		for _, c := range held {
			_ = c.Close(context.WithoutCancel(ctx)) // measured already
		}
	}()
	names := []string{"tsh", "proxy", "pgagent"}
	var counts []float64
	series := map[string][]float64{}
	for _, n := range steps(b.idle) {
		for len(held) < n {
			c, err := pgconn.Connect(ctx, b.db.ways[0].conn)
			if err != nil {
				return err
			}
			held = append(held, c)
		}
		counts = append(counts, float64(n))
		for _, name := range names {
			size, err := b.residentOf(ctx, name)
			if err != nil {
				return err
			}
			series[name] = append(series[name], float64(size))
		}
	}
	b.heap(ctx, "idle", "proxy", "pgagent")
	t := b.table.section(fmt.Sprintf("Memory of an idle database connection (slope over %s)", join(counts)), "process", "resident KiB", "to reach KiB")
	sum := 0.0
	for _, name := range names {
		of := slope(counts, series[name]) / 1024
		sum += of
		t.row(name, fmt.Sprintf("%.0f", of), "")
	}
	t.row("all three", fmt.Sprintf("%.0f", sum), "≤ 128")
	return nil
}

// residentOf is the resident memory of a process; tsh has nothing that starts a
// collection.
func (b *bench) residentOf(ctx context.Context, name string) (int64, error) {
	if name == "tsh" {
		return resident(b.db.local.pid())
	}
	m, err := b.cl.memory(ctx, name)
	return m.resident, err
}
