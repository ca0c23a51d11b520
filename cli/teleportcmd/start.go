package teleportcmd

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"teleport/assembly"
	"teleport/cli/output"
	"teleport/config"
	"teleport/fault"
	"teleport/generation"
	"teleport/maxprocs"
	"teleport/telemetry"
)

// fastStop is how long a process may take to end after TERM or INT, before it
// ends without waiting.
const fastStop = 8 * time.Second

type startFlags struct {
	config.Flags
	path      string
	text      string
	supervise bool
}

func startCommand(s Streams) *cobra.Command {
	var f startFlags
	c := &cobra.Command{
		Use: "start", Short: "Run the services in the foreground", Args: cobra.NoArgs,
		Long: "Runs the services in the foreground.\n\n" +
			"Signals: TERM and INT stop at once (sessions are cut), QUIT stops when the last session\n" +
			"has ended, HUP starts a new process on the same ports and lets this one drain.\n\n" +
			"With --supervise (and always as process 1 of a container) a small parent stays in the\n" +
			"foreground: it starts the process again when it dies and passes the signals on. Under\n" +
			"systemd (teleport install systemd) it is not needed.",
		Example: "  teleport start                                  # a cluster on one machine\n" +
			"  teleport start -c /etc/teleport.yaml --supervise\n" +
			"  teleport start --roles=node --proxy=proxy.example.com:443 --token=TOKEN --ca-pin=sha256:…",
		RunE: func(c *cobra.Command, _ []string) error {
			if (f.supervise || os.Getpid() == 1) && !generation.Supervised() {
				return supervise(s)
			}
			return start(c.Context(), s, f)
		},
	}
	fl := c.Flags()
	fl.StringVarP(&f.path, "config", "c", "", "configuration file (default "+config.DefaultPath+", where it exists)")
	fl.StringVar(&f.text, "config-string", os.Getenv("TELEPORT_CONFIG"), "configuration as base64 of YAML")
	fl.StringVarP(&f.Roles, "roles", "r", "", "services to run, comma separated: auth,proxy,node,db,app")
	fl.StringVar(&f.AuthServer, "auth-server", "", "join at the auth service of this address")
	fl.StringVar(&f.ProxyServer, "proxy", "", "join and tunnel through the proxy of this address")
	fl.StringVar(&f.Token, "token", "", "join token, or the path of a file that holds it")
	fl.StringSliceVar(&f.CAPins, "ca-pin", nil, "pin of the cluster's host authority (tctl status prints it)")
	fl.StringVar(&f.Nodename, "nodename", "", "name of this host (default: the host name)")
	fl.StringVar(&f.AdvertiseIP, "advertise-ip", "", "address by which others reach this host")
	fl.StringVarP(&f.ListenIP, "listen-ip", "l", "", "address that all services listen on")
	fl.StringVar(&f.Labels, "labels", "", "labels of this host: k=v,k2=v2")
	fl.StringVar(&f.PIDFile, "pid-file", "", "write the process id here")
	fl.StringVar(&f.DiagAddr, "diag-addr", "", "serve /healthz, /readyz and /metrics on this address")
	fl.StringVar(&f.DataDir, "data-dir", "", "where state is kept (default "+config.DefaultDataDir+")")
	fl.StringVar(&f.AppName, "app-name", "", "front the app of this name too")
	fl.StringVar(&f.AppURI, "app-uri", "", "http://, https:// or tcp:// and host:port of that app")
	fl.StringVar(&f.AppPublicAddr, "app-public-addr", "", "host name under which the proxy serves it (default: the name, before the proxy's own)")
	fl.BoolVar(&f.supervise, "supervise", false, "stay as a small parent that starts the process again when it dies")
	fl.BoolVarP(&f.Debug, "debug", "d", false, "log everything")
	fl.BoolVar(&f.Insecure, "insecure", false, "believe any web certificate of the proxy when joining")
	fl.BoolVar(&f.PermitEnv, "permit-user-env", false, "let ~/.tsh/environment add to the environment of sessions")
	return c
}

func start(ctx context.Context, s Streams, f startFlags) error {
	file, err := readConfig(f.path, f.text)
	if err != nil {
		return err
	}
	return run(ctx, s, file, f)
}

// run runs what a configuration and the flags say.
func run(ctx context.Context, s Streams, file *config.File, f startFlags) error {
	cfg, err := config.Build(file, f.Flags)
	if err != nil {
		return err
	}
	log, level, closeLog, err := openLog(cfg, s.Err)
	if err != nil {
		return err
	}
	defer closeLog()
	unix.Umask(0o077)
	gen, err := generation.Open()
	if err != nil {
		return err
	}
	p, err := assembly.New(assembly.Options{Config: cfg, Generation: gen, Log: log, Level: level, OnReady: func() { generation.Notify("READY=1") }})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go maxprocs.Follow(ctx, leastProcessors(cfg))
	return runWithSignals(ctx, p, cfg.ShutdownDelay, log)
}

// leastProcessors of a process without load. Auth waits for its disk, in calls that
// keep the processor for a while: others go on meanwhile.
func leastProcessors(cfg *config.Config) int {
	if cfg.Auth != nil {
		return 2
	}
	return 1
}

// readConfig reads the file that was named, the text that was given, or the
// default file where it exists; nil means none.
func readConfig(path, text string) (*config.File, error) {
	if text != "" {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return nil, fault.New(fault.Invalid, "the configuration string is not base64")
		}
		return config.Parse("config-string", b)
	}
	if path != "" {
		return config.ReadFile(path)
	}
	if _, err := os.Stat(config.DefaultPath); err != nil {
		return nil, nil //nolint:nilnil // no file is a valid answer: everything has its default
	}
	return config.ReadFile(config.DefaultPath)
}

func openLog(cfg *config.Config, stderr io.Writer) (*slog.Logger, *slog.LevelVar, func(), error) {
	out, done := stderr, func() {}
	switch cfg.Log.Output {
	case "", "stderr":
	case "stdout":
		out = os.Stdout
	default:
		f, err := os.OpenFile(cfg.Log.Output, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, nil, fault.Unwritable(err, cfg.Log.Output)
		}
		out, done = f, func() { f.Close() }
	}
	l, err := telemetry.ParseLevel(cfg.Log.Severity)
	if err != nil {
		return nil, nil, nil, err
	}
	level := new(slog.LevelVar)
	level.Set(l)
	log, err := telemetry.NewLogger(out, cfg.Log.Format.Output, level)
	return log, level, done, err
}

// supervise stays as the parent of the process that does the work. It reads no
// configuration: it must be able to start a process again whatever that says.
func supervise(s Streams) error {
	path, err := generation.Executable()
	if err != nil {
		return err
	}
	code, err := (&generation.Supervisor{Path: path, Args: os.Args[1:], Final: final,
		Log: slog.New(slog.NewTextHandler(s.Err, nil))}).Run()
	if err == nil && code != output.ExitOK {
		err = exitCode(code)
	}
	return err
}

// runWithSignals serves until a signal or a failure ends the process.
func runWithSignals(ctx context.Context, p *assembly.Process, delay time.Duration, log *slog.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	replaced := make(chan error, 1)
	replacing := false
	for {
		select {
		case err := <-done:
			return err
		case err := <-replaced:
			if err != nil {
				replacing = false
				log.Error("the process was not replaced and goes on", telemetry.KeyErr, err)
				generation.Notify("READY=1") // the reload is over
			}
		case sig := <-signals:
			log.Info("signal", "signal", sig.String())
			switch sig {
			case syscall.SIGHUP:
				if replacing {
					break // one at a time; a process that was replaced stays so
				}
				replacing = true
				generation.Notify("RELOADING=1")
				go func() { replaced <- p.Replace(ctx) }()
			case syscall.SIGQUIT:
				p.Leaving()
				wait(ctx, delay)
				p.Drain()
			default:
				p.Leaving()
				wait(ctx, delay)
				stop()
				return afterStop(done, log)
			}
		}
	}
}

// afterStop waits for the end of a fast stop, but not for ever. What did not
// stop in time loses nothing: a process may be killed at any moment.
func afterStop(done <-chan error, log *slog.Logger) error {
	select {
	case err := <-done:
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	case <-time.After(fastStop):
		log.Warn("some services did not stop in time and are left", "time", fastStop)
		return nil
	}
}

// wait gives load balancers the time to notice.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
