package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"teleport/blob"
	"teleport/fault"
	"teleport/types"
)

// Defaults of paths and ports.
const (
	DefaultPath    = "/etc/teleport.yaml"
	DefaultDataDir = "/var/lib/teleport"
	PortAuth       = "3025"
	PortWeb        = "3080"
	PortSSH        = "3022"
)

// Config is what a process runs with: file, flags and environment merged and
// checked. A nil service does not run.
type Config struct {
	Nodename      string
	DataDir       string
	PIDFile       string
	DiagAddr      string
	AdvertiseIP   string
	ShutdownDelay time.Duration
	Log           Log
	AuthServer    string // join and dial auth here; empty when this process runs auth or joins through a proxy
	ProxyServer   string // join and tunnel through this proxy
	JoinMethod    string
	Token         types.Secret
	CAPins        []string
	Insecure      bool  // skip verification of the proxy's web certificate
	Debug         bool  // serve debug.sock
	MaxPerIP      int   // connections that one client address may hold open
	SpoolQuota    int64 // bytes of recordings that may wait on disk; 0: the recorder's default
	Auth          *Auth
	Proxy         *Proxy
	SSH           *SSH
	DB            *DB
	App           *App
}

// Auth is the auth service's part.
type Auth struct {
	ListenAddr  string
	PublicAddrs []string
	ClusterName string // "": the name of the first start, and there the node name
	Tokens      []StaticToken
	StoragePath string
	StorageSync string
	Sessions    blob.Location // of recordings
	Preference  *types.AuthPreference
	Networking  *types.NetworkingConfig
	Recording   *types.RecordingConfig
	// FileOrigin lists the settings kinds that the file fixes: the API refuses to change them.
	FileOrigin []string
}

// StaticToken is a join token written into the config.
type StaticToken struct {
	Roles  []types.SystemRole
	Secret types.Secret
}

// Proxy is the proxy service's part.
type Proxy struct {
	WebListenAddr     string
	PublicAddrs       []string
	Keypairs          []Keypair
	ReloadInterval    time.Duration
	ProxyProtocol     string // on or off
	TrustForwardedFor bool
	// TrustedBalancers are those whose word on a client's address is believed.
	TrustedBalancers []netip.Prefix
	// MySQLListenAddr is a port of its own for clients of MySQL, which wait to be
	// greeted; empty for none. MySQLPublicAddrs are where clients reach it.
	MySQLListenAddr  string
	MySQLPublicAddrs []string
	MySQLVersion     string // told to clients of MySQL; empty is the default
}

// DefaultDetached is how long a session is kept whose client lost its connection.
const DefaultDetached = 10 * time.Minute

// SSH is the SSH service's part.
type SSH struct {
	// ListenAddr is where this host itself takes SSH and the dials of proxies;
	// empty when it is reached through its tunnels alone.
	ListenAddr string
	// Direct says that this host holds no tunnels: whoever reaches it comes to
	// ListenAddr.
	Direct         bool
	Labels         map[string]string
	Commands       []Command
	PublicAddrs    []string
	PermitUserEnv  bool
	PortForwarding bool
	FileCopy       bool
	// Detached is how long a session whose client lost its connection is kept.
	Detached time.Duration
}

// Flags are the command line's part; zero values mean "not said". A file that
// was loaded wins over an equal flag.
type Flags struct {
	Roles       string
	AuthServer  string
	ProxyServer string
	Token       string
	CAPins      []string
	Nodename    string
	AdvertiseIP string
	ListenIP    string
	Labels      string
	PIDFile     string
	DiagAddr    string
	DataDir     string
	Debug       bool
	Insecure    bool
	PermitEnv   bool
	// AppName, AppURI and AppPublicAddr are one app that the app service fronts beside
	// those of the file.
	AppName, AppURI, AppPublicAddr string
}

// Build merges a file (nil: none) with flags, fills defaults and checks the
// whole. It reads token files and the host name, and nothing else.
func Build(f *File, fl Flags) (*Config, error) {
	loaded := f != nil
	if !loaded {
		f = &File{Version: "v3"}
	}
	c := &Config{
		Nodename:      first(f.Teleport.Nodename, fl.Nodename),
		DataDir:       first(f.Teleport.DataDir, fl.DataDir, DefaultDataDir),
		PIDFile:       first(f.Teleport.PIDFile, fl.PIDFile),
		DiagAddr:      first(f.Teleport.DiagAddr, fl.DiagAddr),
		AdvertiseIP:   first(f.Teleport.AdvertiseIP, fl.AdvertiseIP),
		ShutdownDelay: f.Teleport.ShutdownDelay.Std(),
		Log:           f.Teleport.Log,
		AuthServer:    first(f.Teleport.AuthServer, fl.AuthServer),
		ProxyServer:   first(f.Teleport.ProxyServer, fl.ProxyServer),
		JoinMethod:    first(f.Teleport.JoinParams.Method, "token"),
		CAPins:        f.Teleport.CAPin,
		Insecure:      fl.Insecure,
		Debug:         f.Debug.Enabled.Or(true),
		MaxPerIP:      f.Teleport.Limits.MaxConnections,
	}
	if len(c.CAPins) == 0 {
		c.CAPins = fl.CAPins
	}
	if fl.Debug {
		c.Log.Severity = "DEBUG"
	}
	steps := []func(*Config, *File, Flags) error{common, services, authPart, proxyPart, sshPart, dbPart, appPart, joining}
	for _, step := range steps {
		if err := step(c, f, fl); err != nil {
			return nil, err
		}
	}
	return c, nil
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)

func common(c *Config, f *File, fl Flags) error {
	if c.Nodename == "" {
		host, err := os.Hostname()
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "cannot read the host name; set teleport.nodename")
		}
		c.Nodename = host
	}
	if !nodeName.MatchString(c.Nodename) {
		return fault.New(fault.Invalid, "nodename %q must start with a letter or digit, then letters, digits, '.' or '-'", c.Nodename)
	}
	abs, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "data_dir %q is not a path", c.DataDir)
	}
	c.DataDir = abs
	c.Log.Severity = strings.ToUpper(first(c.Log.Severity, "INFO"))
	if !slices.Contains([]string{"DEBUG", "INFO", "WARN", "ERROR"}, c.Log.Severity) {
		return fault.New(fault.Invalid, "log.severity %q is not one of DEBUG, INFO, WARN, ERROR", c.Log.Severity)
	}
	c.Log.Format.Output = first(c.Log.Format.Output, "text")
	if o := c.Log.Format.Output; o != "text" && o != "json" {
		return fault.New(fault.Invalid, "log.format.output %q is neither text nor json", o)
	}
	if c.MaxPerIP == 0 {
		c.MaxPerIP = 15000
	}
	if c.SpoolQuota, err = parseSize("teleport.recording_spool_quota", f.Teleport.SpoolQuota); err != nil {
		return err
	}
	if f.Teleport.AuthToken != "" && f.Teleport.JoinParams.TokenName != "" {
		return fault.New(fault.Invalid, "teleport.auth_token and teleport.join_params.token_name are both set: keep one")
	}
	token, err := tokenValue(first(f.Teleport.JoinParams.TokenName, f.Teleport.AuthToken, fl.Token))
	c.Token = token
	if err != nil {
		return err
	}
	for name, s := range map[string]LaterService{"kubernetes_service": f.Kube,
		"windows_desktop_service": f.Desktop, "discovery_service": f.Discover} {
		if s.Enabled.Or(false) {
			return fault.New(fault.Invalid, "%s is enabled, and this version does not have that service", name).
				WithHint("Set %s.enabled: no", name)
		}
	}
	if c.DiagAddr != "" {
		return checkAddr("diag_addr", c.DiagAddr)
	}
	return nil
}

// tokenValue reads a token given as itself or as the path of a file.
func tokenValue(s string) (types.Secret, error) {
	if !strings.HasPrefix(s, "/") {
		return types.NewSecret(s), nil
	}
	b, err := os.ReadFile(s)
	if err != nil {
		return types.Secret{}, fault.Unreadable(err, "the token file "+s)
	}
	return types.NewSecret(strings.TrimSpace(string(b))), nil
}

// services decides which services run.
func services(c *Config, f *File, fl Flags) error {
	auth, proxy, ssh, db, app := true, true, true, false, false
	if fl.AuthServer != "" || fl.ProxyServer != "" {
		auth = false
	}
	if fl.ProxyServer != "" {
		proxy = false
	}
	if fl.Roles != "" {
		auth, proxy, ssh = false, false, false
		for _, r := range strings.Split(fl.Roles, ",") {
			switch strings.TrimSpace(r) {
			case "auth":
				auth = true
			case "proxy":
				proxy = true
			case "node", "ssh":
				ssh = true
			case "db":
				db = true
			case "app":
				app = true
			default:
				return fault.New(fault.Invalid, "unknown role %q", r).WithHint("Roles of this version: auth, proxy, node, db, app.")
			}
		}
	}
	app = app || fl.AppName != ""
	if f.Auth.Enabled.Or(auth) {
		c.Auth = &Auth{}
	}
	if f.Proxy.Enabled.Or(proxy) {
		c.Proxy = &Proxy{}
	}
	if f.SSH.Enabled.Or(ssh) {
		c.SSH = &SSH{}
	}
	if f.DB.Enabled.Or(db) {
		c.DB = &DB{}
	}
	if f.App.Enabled.Or(app) {
		c.App = &App{}
	}
	if c.Auth == nil && c.Proxy == nil && c.SSH == nil && c.DB == nil && c.App == nil {
		return fault.New(fault.Invalid, "no service is enabled").WithHint("Enable auth_service, proxy_service, ssh_service, db_service or app_service.")
	}
	return nil
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

func authPart(c *Config, f *File, fl Flags) error {
	if c.Auth == nil {
		return nil
	}
	a, in := c.Auth, f.Auth
	a.ListenAddr = first(in.ListenAddr, withIP(fl.ListenIP, PortAuth))
	if err := checkAddr("auth_service.listen_addr", a.ListenAddr); err != nil {
		return err
	}
	a.PublicAddrs = in.PublicAddr
	a.ClusterName = in.ClusterName
	if a.ClusterName != "" && !clusterName.MatchString(a.ClusterName) {
		return fault.New(fault.Invalid, "cluster_name %q must be 1 to 64 letters, digits, '.', '_' or '-'", a.ClusterName)
	}
	if t := f.Teleport.Storage.Type; t != "" && t != "sqlite" && t != "dir" {
		return fault.New(fault.Invalid, "storage.type %q is not in this version; it has sqlite", t)
	}
	a.StoragePath = first(f.Teleport.Storage.Path, filepath.Join(c.DataDir, "backend"))
	a.StorageSync = strings.ToUpper(first(f.Teleport.Storage.Sync, "FULL"))
	if a.StorageSync != "FULL" && a.StorageSync != "NORMAL" {
		return fault.New(fault.Invalid, "storage.sync %q is neither FULL nor NORMAL", a.StorageSync)
	}
	if err := a.sessions(f.Teleport.Storage.Sessions, c.DataDir); err != nil {
		return err
	}
	for _, t := range in.Tokens {
		st, err := staticToken(t)
		if err != nil {
			return err
		}
		a.Tokens = append(a.Tokens, st)
	}
	return settings(a, in)
}

// sessions says where recordings are stored.
func (a *Auth) sessions(uri, dataDir string) (err error) {
	if uri == "" {
		a.Sessions = blob.Location{Scheme: "file", Path: filepath.Join(dataDir, "log", "records")}
		return nil
	}
	a.Sessions, err = blob.ParseLocation(uri)
	return fault.Wrap(err, fault.Invalid, "storage.audit_sessions_uri: %s", fault.Message(err))
}

// minStaticToken is the least length of a token that an administrator writes
// into a config, in bytes.
const minStaticToken = 16

// staticRoles maps the file's spelling to system roles.
var staticRoles = map[string]types.SystemRole{"node": types.RoleNode, "proxy": types.RoleProxy, "auth": types.RoleAuth,
	"app": types.RoleApp, "db": types.RoleDb, "kube": types.RoleKube, "windowsdesktop": types.RoleDesktop, "discovery": types.RoleDiscover}

func staticToken(s string) (StaticToken, error) {
	roles, value, ok := strings.Cut(s, ":")
	if !ok {
		return StaticToken{}, fault.New(fault.Invalid, "a static token is written role,role:value")
	}
	var t StaticToken
	for _, r := range strings.Split(roles, ",") {
		role, ok := staticRoles[strings.ToLower(strings.TrimSpace(r))]
		if !ok {
			return t, fault.New(fault.Invalid, "static token: unknown role %q", r)
		}
		t.Roles = append(t.Roles, role)
	}
	secret, err := tokenValue(value)
	if err != nil {
		return t, err
	}
	if len(secret.Reveal()) < minStaticToken {
		return t, fault.New(fault.Invalid, "a static token is shorter than %d characters", minStaticToken).
			WithHint("Make one with: openssl rand -hex 16")
	}
	t.Secret = secret
	return t, nil
}

func sshPart(c *Config, f *File, fl Flags) error {
	if c.SSH == nil {
		return nil
	}
	s, in := c.SSH, f.SSH
	s.Direct = c.Auth == nil && c.Proxy == nil && c.AuthServer != ""
	addr := first(in.ListenAddr, withIP(fl.ListenIP, PortSSH))
	if err := checkAddr("ssh_service.listen_addr", addr); err != nil {
		return err
	}
	if s.Direct || in.ForceListen.Or(false) {
		s.ListenAddr = addr
	}
	s.Labels, s.Commands, s.PublicAddrs = in.Labels, in.Commands, in.PublicAddr
	if fl.Labels != "" && len(s.Labels) == 0 {
		s.Labels = map[string]string{}
		for _, kv := range strings.Split(fl.Labels, ",") {
			k, v, ok := strings.Cut(kv, "=")
			if !ok {
				return fault.New(fault.Invalid, "label %q is not written key=value", kv)
			}
			s.Labels[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	for _, cmd := range s.Commands {
		if cmd.Name == "" || len(cmd.Command) == 0 {
			return fault.New(fault.Invalid, "each of ssh_service.commands needs name and command")
		}
		if cmd.Period.Std() < time.Minute {
			return fault.New(fault.Invalid, "ssh_service.commands %q: period must be at least 1m", cmd.Name)
		}
	}
	s.Detached = cmp.Or(in.Detached.Std(), DefaultDetached)
	if s.Detached < time.Second || s.Detached > 24*time.Hour {
		return fault.New(fault.Invalid, "ssh_service.detached_session_timeout %s is outside 1s..24h", s.Detached)
	}
	s.PermitUserEnv = in.PermitUserEnv.Or(fl.PermitEnv)
	s.PortForwarding = in.PortForwarding.Or(true)
	s.FileCopy = in.FileCopy.Or(true)
	return nil
}

var caPin = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// joining checks how a process that is not its own auth reaches one.
func joining(c *Config, _ *File, _ Flags) error {
	for _, p := range c.CAPins {
		if !caPin.MatchString(p) {
			return fault.New(fault.Invalid, "ca_pin %q is not written sha256: and 64 hexadecimal digits", p).
				WithHint("tctl status prints it.")
		}
	}
	if c.Auth != nil {
		if c.AuthServer != "" || c.ProxyServer != "" {
			return fault.New(fault.Invalid, "auth_service is enabled together with %s: a process joins only one cluster",
				map[bool]string{true: "auth_server", false: "proxy_server"}[c.AuthServer != ""]).
				WithHint("Set auth_service.enabled: no")
		}
		return nil
	}
	switch {
	case c.AuthServer != "" && c.ProxyServer != "":
		return fault.New(fault.Invalid, "auth_server and proxy_server are both set: keep one")
	case c.AuthServer == "" && c.ProxyServer == "":
		return fault.New(fault.Invalid, "this process has no auth service and does not say how to reach one").
			WithHint("Set teleport.proxy_server (or teleport.auth_server with ca_pin).")
	case c.Proxy != nil && c.ProxyServer != "":
		return fault.New(fault.Invalid, "a proxy joins at auth directly: set auth_server instead of proxy_server")
	}
	if c.ProxyServer != "" {
		c.ProxyServer = defaultPort(c.ProxyServer, PortWeb)
		return checkAddr("proxy_server", c.ProxyServer)
	}
	c.AuthServer = defaultPort(c.AuthServer, PortAuth)
	return checkAddr("auth_server", c.AuthServer)
}

func defaultPort(addr, port string) string {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return net.JoinHostPort(addr, port)
	}
	return addr
}

func checkAddr(field, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fault.New(fault.Invalid, "%s %q is not written host:port", field, addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fault.New(fault.Invalid, "%s %q: %q is not a port", field, addr, port)
	}
	return nil
}

func withIP(ip, port string) string { return net.JoinHostPort(first(ip, "0.0.0.0"), port) }

func first(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}

// String names the services, for the line that a process logs at start.
func (c *Config) String() string {
	var s []string
	if c.Auth != nil {
		s = append(s, "auth")
	}
	if c.Proxy != nil {
		s = append(s, "proxy")
	}
	if c.SSH != nil {
		s = append(s, "ssh")
	}
	if c.DB != nil {
		s = append(s, "db")
	}
	if c.App != nil {
		s = append(s, "app")
	}
	return fmt.Sprintf("%s (%s)", c.Nodename, strings.Join(s, ", "))
}
