package teleportcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/cli/output"
	"teleport/config"
	"teleport/fault"
)

// sessionVariables are what a session of the SSH service finds in its environment.
var sessionVariables = []struct{ title, name string }{
	{"User", "SSH_TELEPORT_USER"},
	{"Cluster", "SSH_TELEPORT_CLUSTER_NAME"},
	{"Host UUID", "SSH_TELEPORT_HOST_UUID"},
	{"Session", "SSH_SESSION_ID"},
	{"Proxy", "SSH_SESSION_WEBPROXY_ADDR"},
}

func statusCommand(s Streams) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Tell about the session that this shell runs in", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if os.Getenv("SSH_SESSION_ID") == "" {
				return fault.New(fault.NotFound, "this shell does not run in a session of the cluster").
					WithHint("For the state of a cluster use tctl status.")
			}
			for _, v := range sessionVariables {
				fmt.Fprintf(s.Out, "%-10s %s\n", v.title+":", os.Getenv(v.name))
			}
			return nil
		}}
}

// unit is what systemd needs to know of the process. It says itself when it is
// ready, and names its successor, which is no child of it (NotifyAccess=all). A
// host whose cluster does not answer waits without a limit, and is started again
// for ever, unless its configuration is wrong. Only the main process is killed:
// older generations drain until their last session has ended, and a stop reaches
// them through it.
const unit = `[Unit]
Description=Teleport
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
Restart=always
RestartSec=1
RestartPreventExitStatus=%s
TimeoutStartSec=infinity
EnvironmentFile=-%s
ExecStart=%s start --config %s --pid-file=%s
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
LimitNOFILE=%d

[Install]
WantedBy=multi-user.target
`

// final reports whether a process that ended with this code would do so again:
// a person must act first.
func final(code int) bool {
	return code == output.ExitUsage || code == output.ExitNotLoggedIn || code == output.ExitDenied
}

// finalCodes lists them for systemd.
func finalCodes() string {
	var list []string
	for code := range 128 {
		if final(code) {
			list = append(list, strconv.Itoa(code))
		}
	}
	return strings.Join(list, " ")
}

func installCommand(s Streams) *cobra.Command {
	var envFile, pidFile, out, conf string
	var limit int
	parent := &cobra.Command{Use: "install", Short: "Print what installs teleport as a service"}
	c := &cobra.Command{Use: "systemd", Short: "Print a systemd unit", Args: cobra.NoArgs,
		Example: "  teleport install systemd -o /etc/systemd/system/teleport.service",
		RunE: func(*cobra.Command, []string) error {
			exe, err := os.Executable()
			if err != nil {
				return fault.Wrap(err, fault.Internal, "cannot find this program's own file")
			}
			text := fmt.Sprintf(unit, finalCodes(), envFile, exe, conf, pidFile, limit)
			if out == "" {
				_, err := io.WriteString(s.Out, text)
				return err
			}
			return fault.Unwritable(os.WriteFile(out, []byte(text), 0o644), out)
		}}
	c.Flags().StringVar(&envFile, "env-file", "/etc/default/teleport", "file with environment variables of the service")
	c.Flags().StringVar(&pidFile, "pid-file", "/run/teleport.pid", "file for the process id")
	c.Flags().StringVarP(&conf, "config", "c", config.DefaultPath, "configuration file")
	c.Flags().IntVar(&limit, "fd-limit", 524288, "how many descriptors the service may open")
	c.Flags().StringVarP(&out, "output", "o", "", "write the unit here")
	parent.AddCommand(c)
	return parent
}

func debugCommand(s Streams) *cobra.Command {
	var path string
	parent := &cobra.Command{Use: "debug", Short: "Talk to the debug socket of a running process"}
	parent.PersistentFlags().StringVarP(&path, "config", "c", "", "configuration file, to find the data directory")
	call := func(method, url string) error {
		file, err := readConfig(path, "")
		if err != nil {
			return err
		}
		dir := config.DefaultDataDir
		if file != nil && file.Teleport.DataDir != "" {
			dir = file.Teleport.DataDir
		}
		return debugCall(s, filepath.Join(dir, "debug.sock"), method, url)
	}
	parent.AddCommand(
		&cobra.Command{Use: "readyz", Short: "Ask whether the process is ready", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return call(http.MethodGet, "/readyz") }},
		&cobra.Command{Use: "get-log-level", Short: "Print the log level", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return call(http.MethodGet, "/log-level") }},
		&cobra.Command{Use: "set-log-level LEVEL", Short: "Change the log level until the next start", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, a []string) error { return call(http.MethodPut, "/log-level/"+a[0]) }},
		&cobra.Command{Use: "profile NAME", Short: "Write a pprof profile to standard output (heap, goroutine, profile, …)", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, a []string) error { return call(http.MethodGet, "/debug/pprof/"+a[0]) }})
	return parent
}

func debugCall(s Streams, socket, method, url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, method, "http://debug"+url, nil)
	if err != nil {
		return fault.New(fault.Invalid, "%q cannot be asked for", url)
	}
	resp, err := c.Do(req)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "no process answers on %s", socket)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		var body struct {
			Status string `json:"status"`
		}
		if json.NewDecoder(io.LimitReader(resp.Body, 4096)).Decode(&body) == nil && body.Status != "" {
			return fault.New(fault.Unavailable, "%s", body.Status)
		}
		return fault.New(fault.NotFound, "the process does not know %s", url)
	}
	_, err = io.Copy(s.Out, resp.Body)
	return err
}
