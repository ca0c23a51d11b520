package tshcmd

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"teleport/fault"
	"teleport/sshclient"
	"teleport/types"
)

// sshOptions is what the flags and -o settings of tsh ssh come down to.
type sshOptions struct {
	port         int
	local        []string
	remote       []string
	dynamic      []string
	settings     []string // -o
	stdio        string   // -W
	noCommand    bool     // -N
	noInput      bool     // -n
	forceTTY     bool     // -t
	noTTY        bool     // -T
	forwardAgent bool
	noAgent      bool
	gateway      bool
	quiet        bool
	verbose      bool
	background   bool // -f
	escape       string
	parallel     int    // servers at once, where labels mean several
	logDir       string // where their output goes
	reason       string
	invite       string
	requirements bool // list who must be present

	user          string
	remoteCommand string
	sendEnv       []string
	setEnv        []sshclient.EnvVar
	exitOnFailure bool // ExitOnForwardFailure
	connect       time.Duration
	aliveEvery    time.Duration
	aliveCount    int
	clearForwards bool
}

func newSSHOptions() *sshOptions {
	return &sshOptions{escape: "~", sendEnv: []string{"LANG", "LC_*"}, aliveEvery: 30 * time.Second, aliveCount: 3}
}

func (o *sshOptions) flags(f *pflag.FlagSet) {
	f.IntVarP(&o.port, "port", "p", 0, "port of the server, where it is named by address")
	f.StringArrayVarP(&o.local, "forward", "L", nil, "`[bind:]port:host:hostport` forward a port of this machine through the server")
	f.StringArrayVarP(&o.remote, "remote-forward", "R", nil, "`[bind:]port:host:hostport` forward a port of the server to here")
	f.StringArrayVarP(&o.dynamic, "dynamic-forward", "D", nil, "`[bind:]port` SOCKS5 proxy on this machine")
	f.StringArrayVarP(&o.settings, "option", "o", nil, "`Name=value` setting as in ssh_config(5), see above")
	f.StringVarP(&o.stdio, "stdio-forward", "W", "", "`host:port` connect standard input and output with host:port")
	f.BoolVarP(&o.noCommand, "no-remote-exec", "N", false, "run nothing, only forward ports")
	f.BoolVarP(&o.noInput, "no-stdin", "n", false, "read nothing from standard input")
	f.BoolVarP(&o.forceTTY, "tty", "t", false, "ask for a terminal, for a command too")
	f.BoolVarP(&o.noTTY, "no-tty", "T", false, "ask for no terminal")
	f.BoolVarP(&o.forwardAgent, "forward-agent", "A", false, "let the server use your SSH agent")
	f.BoolVarP(&o.noAgent, "no-forward-agent", "a", false, "do not let the server use your SSH agent")
	f.BoolVarP(&o.gateway, "gateway-ports", "g", false, "let other machines use forwarded ports")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no warnings")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say on stderr what is going on")
	f.BoolVarP(&o.background, "fork-after-authentication", "f", false, "go to the background when connected")
	f.IntVar(&o.parallel, "parallel", defaultParallel, "how many servers at once, where labels mean several")
	f.StringVar(&o.logDir, "log-dir", "", "`directory` for the output of a command on several servers")
	f.StringVar(&o.reason, "reason", "", "what the session is for, shown to those who may join it")
	f.StringVar(&o.invite, "invite", "", "`users` with commas between them who are to see the session in tsh sessions ls")
	f.BoolVar(&o.requirements, "participant-req", false, "list who must be present in the session, where your roles ask for somebody")
	f.StringVarP(&o.escape, "escape-char", "e", "~", "`character` that starts an escape, or none")
}

// finish reads the -o settings and checks what was given.
func (o *sshOptions) finish() error {
	for _, s := range o.settings {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			name, value, ok = strings.Cut(strings.TrimSpace(s), " ")
		}
		if !ok {
			return fault.New(fault.Invalid, "-o %s has no value", s).WithHint("write -o Name=value")
		}
		if err := o.set(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil {
			return err
		}
	}
	if o.port < 0 || o.port > 65535 {
		return fault.New(fault.Invalid, "-p takes a number from 1 to 65535")
	}
	if o.escape != "none" && len(o.escape) != 1 {
		return fault.New(fault.Invalid, "-e takes one character, or none")
	}
	if o.clearForwards {
		o.local, o.remote, o.dynamic = nil, nil, nil
	}
	return nil
}

// escapeChar is 0 when escapes are off.
func (o *sshOptions) escapeChar() byte {
	if len(o.escape) != 1 {
		return 0
	}
	return o.escape[0]
}

// withoutEffect lists settings of OpenSSH that scripts pass along and that have
// no meaning here: identities, host keys and routes are the cluster's matter.
func withoutEffect(name string) bool {
	return slices.Contains([]string{"addkeystoagent", "addressfamily", "batchmode", "certificatefile", "checkhostip", "compression",
		"controlmaster", "controlpath", "controlpersist", "globalknownhostsfile", "hashknownhosts", "hostkeyalgorithms", "hostname",
		"identitiesonly", "identityfile", "kbdinteractiveauthentication", "loglevel", "numberofpasswordprompts", "passwordauthentication",
		"preferredauthentications", "pubkeyauthentication", "stricthostkeychecking", "tcpkeepalive", "updatehostkeys",
		"userknownhostsfile", "verifyhostkeydns", "visualhostkey", "ipqos", "forwardx11", "permitlocalcommand"}, name)
}

func (o *sshOptions) set(name, value string) error {
	var err error
	switch key := strings.ToLower(name); key {
	case "clearallforwardings":
		o.clearForwards, err = yesNo(name, value)
	case "connecttimeout":
		o.connect, err = seconds(name, value)
	case "dynamicforward":
		o.dynamic = append(o.dynamic, value)
	case "escapechar":
		o.escape = value
	case "exitonforwardfailure":
		o.exitOnFailure, err = yesNo(name, value)
	case "forwardagent":
		var on bool
		if on, err = yesNo(name, value); err == nil && on {
			o.forwardAgent = true
		}
	case "gatewayports":
		o.gateway, err = yesNo(name, value)
	case "localforward":
		o.local = append(o.local, value)
	case "port":
		if o.port, err = strconv.Atoi(value); err != nil {
			err = badSetting(name, value)
		}
	case "remotecommand":
		o.remoteCommand = value
	case "remoteforward":
		o.remote = append(o.remote, value)
	case "requesttty":
		return o.requestTTY(value)
	case "sendenv":
		o.sendEnv = append(o.sendEnv, strings.Fields(value)...)
	case "serveralivecountmax":
		if o.aliveCount, err = strconv.Atoi(value); err != nil || o.aliveCount < 1 {
			err = badSetting(name, value)
		}
	case "serveraliveinterval":
		o.aliveEvery, err = seconds(name, value)
	case "setenv":
		k, v, ok := strings.Cut(value, "=")
		if !ok || k == "" {
			return badSetting(name, value)
		}
		o.setEnv = append(o.setEnv, sshclient.EnvVar{Name: k, Value: strings.Trim(v, `"`)})
	case "user":
		o.user = value
	default:
		if !withoutEffect(key) {
			return fault.New(fault.Invalid, "-o %s is not known", name).WithHint("tsh ssh --help lists the settings")
		}
	}
	return err
}

func (o *sshOptions) requestTTY(value string) error {
	switch strings.ToLower(value) {
	case "yes", "force":
		o.forceTTY = true
	case "no":
		o.noTTY = true
	case "auto":
	default:
		return badSetting("RequestTTY", value)
	}
	return nil
}

func yesNo(name, value string) (bool, error) {
	switch strings.ToLower(value) {
	case "yes", "true":
		return true, nil
	case "no", "false":
		return false, nil
	}
	return false, badSetting(name, value)
}

func seconds(name, value string) (time.Duration, error) {
	if n, err := strconv.Atoi(value); err == nil && n >= 0 {
		return time.Duration(n) * time.Second, nil
	}
	if d, err := time.ParseDuration(value); err == nil && d >= 0 {
		return d, nil
	}
	return 0, badSetting(name, value)
}

func badSetting(name, value string) error {
	return fault.New(fault.Invalid, "-o %s=%s is not understood", name, value)
}

// env picks the variables to send: those set by hand, and those of the
// environment that a SendEnv pattern matches.
func (o *sshOptions) env(environ []string) []sshclient.EnvVar {
	list := slices.Clone(o.setEnv)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		match := slices.ContainsFunc(o.sendEnv, func(pattern string) bool {
			ok, err := path.Match(pattern, name)
			return err == nil && ok
		})
		if match {
			list = append(list, sshclient.EnvVar{Name: name, Value: value})
		}
	}
	if o.reason != "" {
		list = append(list, sshclient.EnvVar{Name: types.ReasonEnv, Value: o.reason})
	}
	if o.invite != "" {
		list = append(list, sshclient.EnvVar{Name: types.InviteEnv, Value: strings.Join(words(o.invite), ",")})
	}
	if o.requirements {
		list = append(list, sshclient.EnvVar{Name: types.RequirementsEnv, Value: "yes"})
	}
	return list
}

// destination reads the arguments of tsh ssh: flags may stand behind the host as
// well as before it, and everything from the command on is the server's.
func destination(cmd *cobra.Command, args []string) (host string, command []string, err error) {
	if len(args) == 0 {
		return "", nil, fault.New(fault.Invalid, "no server was named").WithHint("use: tsh ssh [flags] [user@]host [command]")
	}
	host, rest := args[0], args[1:]
	if len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		if err := cmd.Flags().Parse(rest); err != nil {
			return "", nil, fault.New(fault.Invalid, "%v", err).WithHint("see: tsh ssh --help")
		}
		rest = cmd.Flags().Args()
	}
	return host, rest, nil
}
