// Command bench measures a cluster of this project against OpenSSH, on one
// machine and in one run: the time and processor time of a session, bulk bytes,
// sessions opened at once, keystrokes, memory, locks, restarts, start-up; and the
// way to a database against HAProxy. What is measured are real
// processes; peers take turns, and their quotient is taken pair by pair, because
// a machine's mood changes faster than a run ends. README.md tells what bounds
// each number.
//
// It must run as root: it makes a user whose shell is /bin/sh, and removes it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	parts     string
	quick     bool
	bin       string
	runs      int
	bytes     int64
	rounds    int
	sessions  int
	idle      int
	agents    int
	text      int64
	strokes   int
	live      int
	locks     int
	restarts  int
	seeks     int
	seconds   time.Duration
	clients   []int
	profiles  string
	pgo       string
	loads     []string // of apps; none: all
	recording string
}

var allParts = []string{"setup", "bulk", "text", "resume", "keys", "storm", "start", "memory", "live", "lock", "seek", "tunnels", "restart", "queries", "connects", "copy", "idle", "sysbench", "apps", "appidle", "layers"}

var databaseParts = []string{"queries", "connects", "copy", "idle"}

func main() {
	if len(os.Args) == 2 && os.Args[1] == simulateArg {
		exit(simulate(context.Background(), os.Stdin, os.Stdout))
	}
	var o options
	flag.StringVar(&o.parts, "parts", strings.Join(allParts, ","), "what to measure")
	flag.BoolVar(&o.quick, "quick", false, "small numbers, to see that everything works")
	flag.StringVar(&o.bin, "bin", "", "directory of teleport, tsh and tctl (default: they are built)")
	flag.IntVar(&o.runs, "n", 50, "commands run, for the time of a session")
	flag.Int64Var(&o.bytes, "bytes", 1e9, "bytes of a bulk transfer")
	flag.IntVar(&o.rounds, "rounds", 3, "bulk transfers, each way")
	flag.IntVar(&o.sessions, "sessions", 200, "sessions opened at once")
	flag.IntVar(&o.idle, "idle", 110, "idle sessions held")
	flag.IntVar(&o.agents, "agents", 2000, "idle agents simulated")
	flag.Int64Var(&o.text, "text", 1e8, "bytes of text shown at a terminal")
	flag.IntVar(&o.strokes, "strokes", 500, "keys pressed")
	flag.IntVar(&o.live, "live", 500, "live sessions held at once")
	flag.IntVar(&o.locks, "locks", 20, "locks, each with ten sessions to cut")
	flag.IntVar(&o.restarts, "restarts", 15, "restarts of the proxy, of each kind")
	flag.IntVar(&o.seeks, "seeks", 50, "moments sought in a recording of an hour")
	flag.DurationVar(&o.seconds, "seconds", 10*time.Second, "how long one run of pgbench takes")
	o.clients = []int{1, 8, 32}
	flag.Func("clients", "clients of pgbench at a time (default 1,8,32)", func(list string) (err error) {
		o.clients, err = numbers(list)
		return err
	})
	flag.Func("loads", "loads of part apps (default small,big,alone)", func(list string) error {
		o.loads = strings.Split(list, ",")
		return nil
	})
	flag.StringVar(&o.recording, "recording", "", "mode in which the cluster records (default: its own)")
	flag.StringVar(&o.profiles, "profiles", "", "directory for processor profiles of our servers, 10 s of each part")
	flag.StringVar(&o.pgo, "pgo", "", "file for one profile of all, by which the compiler goes")
	flag.Parse()
	if o.quick {
		o.runs, o.bytes, o.rounds, o.sessions, o.idle, o.agents = 10, 2e8, 1, 40, 30, 200
		o.text, o.strokes, o.live, o.locks, o.restarts, o.seeks, o.seconds = 2e7, 50, 40, 2, 1, 5, time.Second
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	exit(err)
}

func numbers(list string) (all []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number of clients", word)
		}
		all = append(all, n)
	}
	return all, nil
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is one run.
type bench struct {
	options
	dir   string
	login string
	table table
	cl    *cluster
	peer  *openSSH
	null  *null
	db    *database // PostgreSQL's
	maria *database
	apps  *apps
}

func run(ctx context.Context, o options) (err error) {
	parts := strings.Split(o.parts, ",")
	for _, p := range parts {
		if !slices.Contains(allParts, p) {
			return fmt.Errorf("there is no part %q; there are %s", p, strings.Join(allParts, ","))
		}
	}
	if os.Getuid() != 0 {
		return errors.New("run this as root: it makes a user for the test and starts sshd")
	}
	b := &bench{options: o}
	if b.dir, err = os.MkdirTemp("", "teleport-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.pgo != "" && b.profiles == "" {
		b.profiles = filepath.Join(b.dir, "profiles")
	}
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // sshd reads keys as the login user
		return err
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := b.addUser(); err != nil {
		return err
	}
	defer b.removeUser()
	defer b.stop()
	begun := time.Now()
	b.describe()
	err = b.measure(ctx, parts)
	b.table.sections[0].note("%s of measuring; load average at the end: %s.", time.Since(begun).Round(time.Second), loadAverage())
	b.table.write(os.Stdout)
	if b.pgo != "" && err == nil {
		err = mergeProfiles(b.profiles, b.pgo)
	}
	return err
}

// measure goes through the parts. One that fails takes nothing from the others:
// a run is too long to throw away.
func (b *bench) measure(ctx context.Context, parts []string) error {
	var failed []error
	for _, p := range parts {
		progress("%s", p)
		if err := b.part(ctx, p); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p, err))
			progress("%v", failed[len(failed)-1])
		}
		if ctx.Err() != nil {
			break
		}
	}
	if b.cl != nil && ctx.Err() == nil {
		mode, err := b.cl.recordingMode()
		if err != nil {
			failed = append(failed, err)
		}
		b.table.sections[0].row("recording of sessions", mode+" (in every part with sessions)")
	}
	return errors.Join(failed...)
}

func (b *bench) part(ctx context.Context, name string) error {
	if name == "start" {
		return b.measureStart(ctx)
	}
	if name == "layers" {
		return b.measureLayers(ctx)
	}
	if err := b.world(ctx); err != nil {
		return err
	}
	if slices.Contains(databaseParts, name) {
		if err := b.databaseWorld(ctx); err != nil {
			return err
		}
	}
	if name == "sysbench" {
		if err := b.mariaWorld(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(appParts, name) {
		if err := b.appWorld(ctx); err != nil {
			return err
		}
	}
	stop := b.profile(ctx, name)
	defer stop()
	return map[string]func(context.Context) error{
		"setup": b.measureSetup, "bulk": b.measureBulk, "text": b.measureText, "resume": b.measureResume, "keys": b.measureKeys,
		"storm": b.measureStorm, "memory": b.measureSessions, "live": b.measureLive, "lock": b.measureLock, "seek": b.measureSeek,
		"tunnels": b.measureTunnels, "restart": b.measureRestart, "queries": b.measureQueries, "connects": b.measureConnects, "copy": b.measureCopy, "idle": b.measureIdle,
		"sysbench": b.measureSysbench, "apps": b.measureApps, "appidle": b.measureAppIdle,
	}[name](ctx)
}

// world starts what is compared, once.
func (b *bench) world(ctx context.Context) (err error) {
	if b.cl != nil {
		return nil
	}
	for _, d := range []string{"cluster", "openssh", "null"} {
		if err := os.Mkdir(filepath.Join(b.dir, d), 0o755); err != nil {
			return err
		}
	}
	b.cl = newCluster(b.bin, filepath.Join(b.dir, "cluster"), b.recording)
	if err := b.cl.up(ctx, b.login); err != nil {
		return err
	}
	if b.peer, err = startOpenSSH(ctx, filepath.Join(b.dir, "openssh"), b.login); err != nil {
		return err
	}
	b.null, err = startNull(ctx, filepath.Join(b.dir, "bin", "nullrelay"), filepath.Join(b.dir, "null"))
	return err
}

func (b *bench) stop() {
	b.db.stop()
	b.maria.stop()
	b.apps.stop()
	if b.cl != nil {
		b.cl.stop()
	}
	b.peer.stop()
	b.null.stop()
}

// build makes the programs that are measured, unless they are given, and the null relay.
func (b *bench) build(ctx context.Context) error {
	progress("building")
	out := filepath.Join(b.dir, "bin")
	if b.bin == "" {
		b.bin = out
		if _, err := output(exec.CommandContext(ctx, "make", "build", "OUT="+out)); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out+"/", "./bench/nullrelay")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	_, err := output(cmd)
	return err
}

// addUser makes the user whom everybody logs in as. Its shell is /bin/sh, so that
// no start-up file is timed; "*" lets it in by key though it has no password.
func (b *bench) addUser() error {
	b.login = "bench" + strconv.Itoa(os.Getpid())
	_, err := output(exec.Command("useradd", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", "--password", "*", b.login))
	return err
}

func (b *bench) removeUser() {
	if _, err := output(exec.Command("userdel", b.login)); err != nil {
		progress("the user %s stays behind: %v", b.login, err)
	}
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
