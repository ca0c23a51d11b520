package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"teleport/fault"
	"teleport/types"
)

// AppService configures access to apps.
type AppService struct {
	Enabled   Flag              `yaml:"enabled"`
	Apps      []AppEntry        `yaml:"apps"`
	Resources []ResourceMatcher `yaml:"resources"`
	DebugApp  Flag              `yaml:"debug_app"`
	// Addresses and networks.
	AllowedHosts []string `yaml:"allowed_hosts"`
	DeniedHosts  []string `yaml:"denied_hosts"`
}

// AppEntry is one app of the file.
type AppEntry struct {
	Name               string            `yaml:"name"`
	Description        string            `yaml:"description"`
	URI                string            `yaml:"uri"`
	PublicAddr         string            `yaml:"public_addr"`
	InsecureSkipVerify Flag              `yaml:"insecure_skip_verify"`
	Labels             map[string]string `yaml:"labels"`
	Commands           []Command         `yaml:"commands"`
	Rewrite            AppRewrite        `yaml:"rewrite"`
	RequiredApps       []string          `yaml:"required_apps"`
	CORS               AppCORS           `yaml:"cors"`
	Cloud              string            `yaml:"cloud"`
	AWS                AppAWS            `yaml:"aws"`
	CloudEndpoints     map[string]string `yaml:"cloud_endpoints"`
	TCPPorts           []AppPort         `yaml:"tcp_ports"`
}

// AppRewrite says what is changed in requests and answers. Headers are written
// "Name: value".
type AppRewrite struct {
	Redirect  []string `yaml:"redirect"`
	Headers   []string `yaml:"headers"`
	JWTClaims string   `yaml:"jwt_claims"`
	JWT       Flag     `yaml:"jwt"`
}

// AppCORS answers preflight requests.
type AppCORS struct {
	AllowedOrigins   []string `yaml:"allowed_origins"`
	AllowedMethods   []string `yaml:"allowed_methods"`
	AllowedHeaders   []string `yaml:"allowed_headers"`
	ExposedHeaders   []string `yaml:"exposed_headers"`
	AllowCredentials Flag     `yaml:"allow_credentials"`
	MaxAge           int      `yaml:"max_age"`
}

// AppAWS is what only AWS needs.
type AppAWS struct {
	ExternalID string `yaml:"external_id"`
}

// AppPort is a port, or a range of them, of a tcp app.
type AppPort struct {
	Port    int `yaml:"port"`
	EndPort int `yaml:"end_port"`
}

// App is the app service's part.
type App struct {
	// Apps are those of the file, and Matchers select registered ones.
	Apps     []*types.App
	Matchers []types.Labels
	// AllowedHosts, or else all but DeniedHosts, are where apps may be.
	AllowedHosts, DeniedHosts []netip.Prefix
	// Debug has this agent show the headers that apps get: types.DebugApp is one of Apps.
	Debug bool
}

func appPart(c *Config, f *File, fl Flags) error {
	if fl.AppName == "" && fl.AppURI+fl.AppPublicAddr != "" {
		return fault.New(fault.Invalid, "--app-uri and --app-public-addr are of an app that --app-name names")
	}
	if c.App == nil {
		return nil
	}
	entries := f.App.Apps
	if fl.AppName != "" && !slices.ContainsFunc(entries, func(e AppEntry) bool { return e.Name == fl.AppName }) {
		entries = append(slices.Clone(entries), AppEntry{Name: fl.AppName, URI: fl.AppURI, PublicAddr: fl.AppPublicAddr})
	}
	names := map[string]bool{}
	for _, e := range entries {
		app, err := e.document()
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "app_service.apps %q: %s", e.Name, fault.Message(err))
		}
		if names[e.Name] {
			return fault.New(fault.Invalid, "app_service.apps names %q twice", e.Name)
		}
		names[e.Name] = true
		c.App.Apps = append(c.App.Apps, app)
	}
	if c.App.Debug = f.App.DebugApp.Or(false); c.App.Debug {
		if names[types.DebugAppName] {
			return fault.New(fault.Invalid, "app_service.apps names %q, which is the name of the one that debug_app adds", types.DebugAppName)
		}
		debug := types.DebugApp()
		if err := debug.Validate(); err != nil {
			return err
		}
		c.App.Apps = append(c.App.Apps, debug)
	}
	if err := appHosts(c.App, &f.App); err != nil {
		return err
	}
	var err error
	if c.App.Matchers, err = matchers("app_service", "app", f.App.Resources); err != nil {
		return err
	}
	if len(c.App.Apps) == 0 && len(c.App.Matchers) == 0 {
		return fault.New(fault.Invalid, "app_service is enabled and fronts nothing").WithHint("Name apps, or select registered ones by resources.")
	}
	return nil
}

// appHosts reads where apps may be.
func appHosts(a *App, s *AppService) (err error) {
	if len(s.AllowedHosts) > 0 && len(s.DeniedHosts) > 0 {
		return fault.New(fault.Invalid, "app_service has allowed_hosts and denied_hosts, and only one of them counts")
	}
	if a.AllowedHosts, err = networks("app_service.allowed_hosts", s.AllowedHosts); err != nil {
		return err
	}
	a.DeniedHosts, err = networks("app_service.denied_hosts", s.DeniedHosts)
	return err
}

// networks reads addresses and networks.
func networks(key string, list []string) (out []netip.Prefix, err error) {
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if addr, only := netip.ParseAddr(s); only == nil && addr.Zone() == "" {
			p, err = addr.Unmap().Prefix(addr.Unmap().BitLen())
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, fault.New(fault.Invalid, "%s: %.80q is no address and no network", key, s).WithHint("such as 10.0.0.0/8")
		}
		out = append(out, p)
	}
	return out, nil
}

// matchers are the selectors of a service, whose resources people call what.
func matchers(service, what string, list []ResourceMatcher) (out []types.Labels, err error) {
	for _, m := range list {
		if len(m.Labels) == 0 {
			return nil, fault.New(fault.Invalid, "each of %s.resources needs labels", service).WithHint(`'*': '*' is every registered %s`, what)
		}
		labels := types.Labels{}
		for k, v := range m.Labels {
			labels[k] = types.StringList(v)
		}
		out = append(out, labels)
	}
	return out, nil
}

// document is the entry as a resource.
func (e AppEntry) document() (*types.App, error) {
	a := &types.App{Spec: types.AppSpec{URI: e.URI, PublicAddr: e.PublicAddr, InsecureSkipVerify: e.InsecureSkipVerify.Or(false),
		RequiredApps: e.RequiredApps, Cloud: e.Cloud, CloudEndpoints: e.CloudEndpoints}}
	a.Metadata.Name, a.Metadata.Description, a.Metadata.Labels = e.Name, e.Description, e.Labels
	var err error
	if a.Spec.Rewrite, err = e.Rewrite.document(); err != nil {
		return nil, err
	}
	if c := e.CORS; len(c.AllowedOrigins) > 0 {
		a.Spec.CORS = &types.AppCORS{AllowedOrigins: c.AllowedOrigins, AllowedMethods: c.AllowedMethods, AllowedHeaders: c.AllowedHeaders,
			ExposedHeaders: c.ExposedHeaders, AllowCredentials: c.AllowCredentials.Or(false), MaxAge: c.MaxAge}
	}
	if e.AWS != (AppAWS{}) {
		a.Spec.AWS = &types.AppAWS{ExternalID: e.AWS.ExternalID}
	}
	for _, p := range e.TCPPorts {
		a.Spec.TCPPorts = append(a.Spec.TCPPorts, types.AppPort{Port: p.Port, EndPort: p.EndPort})
	}
	if a.Spec.DynamicLabels, err = commandLabels("commands", e.Commands); err != nil {
		return nil, err
	}
	return a, a.Validate()
}

func (r AppRewrite) document() (*types.AppRewrite, error) {
	jwt := r.JWT.Or(true)
	if len(r.Redirect) == 0 && len(r.Headers) == 0 && r.JWTClaims == "" && jwt {
		return nil, nil // nothing is rewritten
	}
	out := &types.AppRewrite{Redirect: r.Redirect, JWTClaims: r.JWTClaims}
	if !jwt {
		out.JWT = &jwt
	}
	for _, h := range r.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fault.New(fault.Invalid, "rewrite.headers: %q is not written \"Name: value\"", h)
		}
		out.Headers = append(out.Headers, types.AppHeader{Name: name, Value: strings.TrimSpace(value)})
	}
	return out, nil
}

// commandLabels are labels whose values commands print; key is theirs in the file.
func commandLabels(key string, list []Command) (map[string]types.CommandLabel, error) {
	var out map[string]types.CommandLabel
	for _, l := range list {
		if l.Name == "" || len(l.Command) == 0 || l.Period.Std() < time.Minute {
			return nil, fault.New(fault.Invalid, "each of %s needs name, command, and a period of at least 1m", key)
		}
		if out == nil {
			out = map[string]types.CommandLabel{}
		}
		out[l.Name] = types.CommandLabel{Command: l.Command, Period: l.Period}
	}
	return out, nil
}
