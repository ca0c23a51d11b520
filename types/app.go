package types

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"teleport/fault"
)

// App is a web application, a TCP service, or the API of a cloud that agents may
// front (kind app, v3): registered by an administrator, or named in an agent's own
// configuration.
type App struct {
	Header
	Spec AppSpec `json:"spec"`
}

// AppSpec says where the app is, and how requests to it are changed.
type AppSpec struct {
	URI                string                  `json:"uri,omitempty" doc:"http://, https:// or tcp:// and the host of the app; cloud://AWS, cloud://Azure or cloud://GCP."`
	PublicAddr         string                  `json:"public_addr,omitempty" doc:"Host name under which the proxy serves it; the app's name before the proxy's when empty."`
	DynamicLabels      map[string]CommandLabel `json:"dynamic_labels,omitempty"`
	InsecureSkipVerify bool                    `json:"insecure_skip_verify,omitempty" doc:"Do not verify the certificate of an https app."`
	Rewrite            *AppRewrite             `json:"rewrite,omitempty"`
	RequiredApps       []string                `json:"required_apps,omitempty" doc:"Other apps, 16 at most, that a visit to this one opens too."`
	CORS               *AppCORS                `json:"cors,omitempty"`
	Cloud              string                  `json:"cloud,omitempty" enum:"AWS,Azure,GCP" doc:"The cloud whose API or console this is."`
	AWS                *AppAWS                 `json:"aws,omitempty"`
	CloudEndpoints     map[string]string       `json:"cloud_endpoints,omitempty" doc:"URLs that requests to services of the cloud go to, instead of the cloud's own hosts, by service."`
	TCPPorts           []AppPort               `json:"tcp_ports,omitempty" doc:"Ports of a tcp app whose uri names none. The first is for clients that name none."`
}

// MaxRequiredApps bounds how many other apps a visit to an app opens.
const MaxRequiredApps = 16

// AppRewrite says what agents change in requests and answers.
type AppRewrite struct {
	Redirect  []string    `json:"redirect,omitempty" doc:"Host names of the app; a redirect to one of them leads to the app's public address instead."`
	Headers   []AppHeader `json:"headers,omitempty" doc:"Headers that requests get. Host is what the app sees as its own name."`
	JWTClaims string      `json:"jwt_claims,omitempty" enum:"roles-and-traits,roles,traits,none" doc:"What the signed token tells of the user besides the name. Default roles-and-traits."`
	JWT       Bool        `json:"jwt,omitempty" doc:"Requests carry a signed token that says who the user is. Default true."`
}

// AppHeader is one header of requests. The value may hold templates.
type AppHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// What the token of an app tells.
const (
	JWTRolesAndTraits = "roles-and-traits"
	JWTRoles          = "roles"
	JWTTraits         = "traits"
	JWTNone           = "none"
)

// AppCORS answers preflight requests of browsers, which show no session.
type AppCORS struct {
	AllowedOrigins   []string `json:"allowed_origins,omitempty"`
	AllowedMethods   []string `json:"allowed_methods,omitempty"`
	AllowedHeaders   []string `json:"allowed_headers,omitempty"`
	ExposedHeaders   []string `json:"exposed_headers,omitempty"`
	AllowCredentials bool     `json:"allow_credentials,omitempty"`
	MaxAge           int      `json:"max_age,omitempty" doc:"Seconds."`
}

// AppAWS is what only AWS needs.
type AppAWS struct {
	ExternalID string `json:"external_id,omitempty" doc:"External id with which roles are taken."`
}

// AppPort is a port, or a range of them, of a tcp app.
type AppPort struct {
	Port    int `json:"port"`
	EndPort int `json:"end_port,omitempty"`
}

// String is port, or port-end.
func (p AppPort) String() string {
	if p.EndPort == 0 {
		return strconv.Itoa(p.Port)
	}
	return strconv.Itoa(p.Port) + "-" + strconv.Itoa(p.EndPort)
}

// ParseAppPort reads what String writes.
func ParseAppPort(s string) (AppPort, error) {
	from, to, ranged := strings.Cut(s, "-")
	p := AppPort{}
	var err error
	if p.Port, err = strconv.Atoi(from); err == nil && ranged {
		p.EndPort, err = strconv.Atoi(to)
	}
	if err != nil || !p.valid() || ranged != (p.EndPort != 0) {
		return AppPort{}, fault.New(fault.Invalid, "%.20q is no port, and no range such as 8000-8010", s)
	}
	return p, nil
}

func (p AppPort) valid() bool {
	return p.Port >= 1 && p.Port <= 65535 && (p.EndPort == 0 || p.EndPort > p.Port && p.EndPort <= 65535)
}

// Clouds that apps may be.
const (
	CloudAWS   = "AWS"
	CloudAzure = "Azure"
	CloudGCP   = "GCP"
)

// AppServer is an app as one agent fronts it (kind app_server, v3). Presence:
// written when an agent connects or changes, removed with its lease. Its name is
// ServerName of the app and the host.
type AppServer struct {
	Header
	Spec   AppServerSpec   `json:"spec"`
	Status AppServerStatus `json:"status,omitzero"`
}

// AppServerSpec is what an agent announces.
type AppServerSpec struct {
	HostID   string `json:"host_id"`
	Hostname string `json:"hostname"`
	Version  string `json:"version,omitempty"`
	App      App    `json:"app"`
}

// AppServerStatus is what the agent sees of the app.
type AppServerStatus struct {
	TargetHealth TargetHealth `json:"target_health,omitzero"`
}

// AllLabels merges static labels and the results of dynamic ones.
func (a *App) AllLabels() map[string]string {
	return mergeLabels(a.Metadata.Labels, a.Spec.DynamicLabels)
}

// Validate implements Resource. It fills the defaults.
func (a *App) Validate() error {
	if err := a.check(KindApp, &a.Spec); err != nil {
		return err
	}
	return firstErr(at("metadata.name", checkLabel63(a.Metadata.Name)), a.Spec.validate("spec"))
}

// checkLabel63 checks one label of a DNS name.
func checkLabel63(s string) error {
	switch {
	case s == "" || len(s) > 63:
		return fieldFault("", "%q is empty or longer than 63 characters", s)
	case strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-"):
		return fieldFault("", "%q must not begin or end with \"-\"", s)
	case strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fieldFault("", "%q must hold only a-z, 0-9 and \"-\"", s)
	}
	return nil
}

// CheckDNSName checks a full host name in small letters, which is no address.
func CheckDNSName(s string) error {
	if len(s) > 253 || net.ParseIP(s) != nil {
		return fieldFault("", "%.80q is not the name of a host", s)
	}
	for l := range strings.SplitSeq(s, ".") {
		if err := checkLabel63(l); err != nil {
			return fault.Wrap(err, fault.Invalid, "%.80q is not a host name in small letters: %s", s, fault.Message(err))
		}
	}
	return nil
}

// awsConsoles are the hosts of the consoles of AWS, one for each partition.
var awsConsoles = []string{"console.aws.amazon.com", "console.amazonaws-us-gov.com", "console.amazonaws.cn"}

func (s *AppSpec) validate(path string) error {
	if err := s.validateURI(); err != nil {
		return at(JoinPath(path, "uri"), err)
	}
	for k, c := range s.DynamicLabels {
		if err := at(JoinPath(JoinPath(path, "dynamic_labels"), k), CheckLabel(k, c.Result)); err != nil {
			return err
		}
	}
	if s.PublicAddr != "" {
		if err := at(JoinPath(path, "public_addr"), CheckDNSName(s.PublicAddr)); err != nil {
			return err
		}
	}
	if len(s.RequiredApps) > MaxRequiredApps {
		return fieldFault(JoinPath(path, "required_apps"), "%d apps are more than the %d that one visit opens", len(s.RequiredApps), MaxRequiredApps)
	}
	for i, name := range s.RequiredApps {
		if err := at(IndexPath(JoinPath(path, "required_apps"), i), checkLabel63(name)); err != nil {
			return err
		}
	}
	if s.AWS != nil && s.Cloud != CloudAWS {
		return fieldFault(JoinPath(path, "aws"), "is only for an app whose cloud is AWS")
	}
	return firstErr(s.validatePorts(JoinPath(path, "tcp_ports")), s.validateWeb(path), s.validateCloud(path))
}

// validateCloud checks what only clouds have. What is sent to an endpoint carries
// credentials: none goes over a network in plain text.
func (s *AppSpec) validateCloud(path string) error {
	if len(s.CloudEndpoints) > 0 && s.Cloud == "" {
		return fieldFault(JoinPath(path, "cloud_endpoints"), "is only for an app that is a cloud")
	}
	for service, endpoint := range s.CloudEndpoints {
		here := JoinPath(JoinPath(path, "cloud_endpoints"), service)
		if service == "" || strings.Trim(service, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fieldFault(here, "%.80q is not the name of a service", service)
		}
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
			return fieldFault(here, "it is not the URL of an endpoint, with a host, and without user, query and fragment") // not told: it may hold a password
		}
		host := net.ParseIP(u.Hostname())
		own := u.Hostname() == "localhost" || host != nil && host.IsLoopback()
		if u.Scheme != "https" && (u.Scheme != "http" || !own) {
			return fieldFault(here, "%.200q is not https, nor of this machine", endpoint)
		}
	}
	return nil
}

// validateURI checks where the app is, and fills the cloud.
func (s *AppSpec) validateURI() error {
	if s.URI == "" && s.Cloud != "" {
		s.URI = "cloud://" + s.Cloud
	}
	u, err := url.Parse(s.URI)
	switch {
	case s.URI == "":
		return fieldFault("", "it is missing: it says where the app is").WithHint("such as http://localhost:8080")
	case err != nil || u.Host == "" || u.Opaque != "":
		return fieldFault("", "%.200q is not a URI", s.URI).WithHint("such as http://localhost:8080")
	case u.User != nil || u.Fragment != "" || u.RawQuery != "" || u.ForceQuery:
		return fieldFault("", "it must hold no user, no query and no fragment")
	case u.Scheme == "cloud":
		for _, c := range []string{CloudAWS, CloudAzure, CloudGCP} {
			if strings.EqualFold(u.Host, c) && u.Path == "" && (s.Cloud == "" || s.Cloud == c) {
				s.Cloud, s.URI = c, "cloud://"+c
				return nil
			}
		}
		return fieldFault("", "%.80q is not cloud://AWS, cloud://Azure or cloud://GCP, or not that of spec.cloud", s.URI)
	case u.Scheme == "tcp" && (u.Path != "" || s.Cloud != ""):
		return fieldFault("", "a tcp app is a host and a port")
	case u.Scheme != "tcp" && u.Scheme != "http" && u.Scheme != "https":
		return fieldFault("", "the scheme %.20q is not http, https, tcp or cloud", u.Scheme)
	}
	if u.Scheme == "https" && s.Cloud == "" && slices.ContainsFunc(awsConsoles, func(c string) bool { return u.Host == c || strings.HasSuffix(u.Host, "."+c) }) {
		s.Cloud = CloudAWS
	}
	return checkTarget(u, len(s.TCPPorts) > 0)
}

// checkTarget checks the host and the port of a URI.
func checkTarget(u *url.URL, ports bool) error {
	host, port := u.Hostname(), u.Port()
	if net.ParseIP(host) == nil {
		if err := CheckHostname(host); err != nil {
			return err
		}
	}
	switch {
	case u.Scheme == "tcp" && port == "" && !ports:
		return fieldFault("", "a tcp app names its port, or tcp_ports")
	case ports && port != "":
		return fieldFault("", "it names a port, and so does tcp_ports")
	case port == "" && strings.HasSuffix(u.Host, ":"):
		return fieldFault("", "the port is empty")
	case port != "":
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fieldFault("", "%q is no usable port", port)
		}
	}
	return nil
}

func (s *AppSpec) validatePorts(path string) error {
	if len(s.TCPPorts) > 0 && !s.TCP() {
		return fieldFault(path, "is only for a tcp app")
	}
	for i, p := range s.TCPPorts {
		if !p.valid() {
			return fieldFault(IndexPath(path, i), "%d to %d is no range of ports", p.Port, p.EndPort)
		}
	}
	return nil
}

// validateWeb checks what only web apps have.
func (s *AppSpec) validateWeb(path string) error {
	if s.TCP() && (s.Rewrite != nil || s.CORS != nil || s.InsecureSkipVerify || len(s.RequiredApps) > 0) {
		return fieldFault(path, "a tcp app has no rewrite, cors, insecure_skip_verify and required_apps")
	}
	if r := s.Rewrite; r != nil {
		for i, host := range r.Redirect {
			if net.ParseIP(host) == nil {
				if err := at(IndexPath(JoinPath(JoinPath(path, "rewrite"), "redirect"), i), CheckHostname(host)); err != nil {
					return err
				}
			}
		}
		for i, h := range r.Headers {
			if err := at(IndexPath(JoinPath(JoinPath(path, "rewrite"), "headers"), i), h.check()); err != nil {
				return err
			}
		}
	}
	if s.CORS == nil {
		return nil
	}
	return at(JoinPath(path, "cors"), s.CORS.check())
}

func (c *AppCORS) check() error {
	for _, o := range c.AllowedOrigins {
		if o == Wildcard {
			if c.AllowCredentials {
				return fieldFault("", "any origin and allow_credentials together would open the app to every page")
			}
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.String() != u.Scheme+"://"+u.Host {
			return fieldFault("", "%.80q is not an origin such as https://www.example.com", o)
		}
	}
	for _, list := range [][]string{c.AllowedMethods, c.AllowedHeaders, c.ExposedHeaders} {
		for _, word := range list {
			if !isToken(word) {
				return fieldFault("", "%.80q is not the name of a method or header", word)
			}
		}
	}
	return nil
}

// isToken reports whether s is a token of HTTP.
func isToken(s string) bool { return s != "" && strings.Trim(s, alnum+"!#$%&'*+-.^_`|~") == "" }

// check refuses the headers that say who the user is, where the request came from
// or how it is framed: those are the agent's alone.
func (h AppHeader) check() error {
	switch name := strings.ToLower(h.Name); {
	case !isToken(h.Name):
		return fieldFault("", "%.80q is not the name of a header", h.Name)
	case ReservedHeader(name):
		return fieldFault("", "the header %s is not to be rewritten", h.Name)
	case len(h.Value) > maxText || !printable(h.Value):
		return fieldFault("", "the value of %s is too long, or holds a control character", h.Name)
	}
	return nil
}

// HeaderKey is what headers have in common that an app may take for one another: many
// know a header as a variable of CGI, where X-User, x_user and X.User are all
// HTTP_X_USER.
func HeaderKey(name string) string { return string(appendHeaderKey(nil, name)) }

// HeaderIs reports whether an app may take a header for the one with this key.
func HeaderIs(name, key string) bool {
	var room [longestReserved]byte
	return string(appendHeaderKey(room[:0], name)) == key
}

func appendHeaderKey(b []byte, name string) []byte {
	for _, r := range name {
		switch {
		case r >= 'A' && r <= 'Z':
			b = append(b, byte(r)-'A'+'a')
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b = append(b, byte(r))
		default:
			b = append(b, '-')
		}
	}
	return b
}

// longestReserved is more than the length of every name, and beginning of one, that
// is reserved.
const longestReserved = 32

// ReservedHeader reports whether a header of requests is the agent's alone, however
// it is spelt: what apps believe about who and whence, and what frames a request.
func ReservedHeader(name string) bool {
	var room [longestReserved]byte
	key := appendHeaderKey(room[:0], name[:min(len(name), longestReserved)])
	switch string(key) {
	case "cf-access-token", "forwarded", "x-real-ip", "connection", "content-length", "transfer-encoding", "te",
		"trailer", "upgrade", "keep-alive", "expect":
		return true
	}
	for _, own := range []string{"teleport-", "x-forwarded-", "x-teleport-", "proxy-"} {
		if strings.HasPrefix(string(key), own) {
			return true
		}
	}
	return false
}

// OwnHeader reports whether a header is between us, or between us and the app: what a
// client says in one goes no further. Beside those that are reserved it is the one
// that names a request.
func OwnHeader(name string) bool { return ReservedHeader(name) || HeaderIs(name, "x-request-id") }

// TCP reports whether the app is a TCP service.
func (s *AppSpec) TCP() bool { return strings.HasPrefix(s.URI, "tcp://") }

// CloudAPI reports whether the app is the API or console of a cloud, which no
// address tells of.
func (s *AppSpec) CloudAPI() bool { return s.Cloud != "" }

// Type is how people know what sort of app it is: HTTP, TCP, or the cloud.
func (s *AppSpec) Type() string {
	switch {
	case s.Cloud != "":
		return s.Cloud
	case s.TCP():
		return "TCP"
	}
	return "HTTP"
}

// JWT reports whether requests carry a token.
func (s *AppSpec) JWT() bool {
	return !s.TCP() && !s.CloudAPI() && (s.Rewrite == nil || s.Rewrite.JWT == nil || *s.Rewrite.JWT)
}

// JWTClaims is what the token tells.
func (s *AppSpec) JWTClaims() string {
	if s.Rewrite == nil || s.Rewrite.JWTClaims == "" {
		return JWTRolesAndTraits
	}
	return s.Rewrite.JWTClaims
}

// HasPort reports whether a tcp app has a port; 0 is its first.
func (s *AppSpec) HasPort(port int) bool {
	_, err := s.Address(port)
	return err == nil
}

// Address returns host:port of the app. port chooses one of a tcp app; 0 is its
// first. It is fault.Invalid for clouds, which have none.
func (s *AppSpec) Address(port int) (string, error) {
	u, err := url.Parse(s.URI)
	if err != nil || u.Scheme == "cloud" {
		return "", fieldFault("", "%.80q is no address", s.URI)
	}
	own := u.Port()
	switch {
	case own == "" && u.Scheme == "https":
		own = "443"
	case own == "" && u.Scheme == "http":
		own = "80"
	case own == "" && port == 0 && len(s.TCPPorts) > 0:
		own = strconv.Itoa(s.TCPPorts[0].Port)
	case own == "" && slices.ContainsFunc(s.TCPPorts, func(p AppPort) bool { return port >= p.Port && port <= max(p.Port, p.EndPort) }):
		own = strconv.Itoa(port)
	}
	if own == "" || port != 0 && own != strconv.Itoa(port) {
		return "", fault.New(fault.Invalid, "the app has no port %d", port)
	}
	return net.JoinHostPort(u.Hostname(), own), nil
}

// Validate implements Resource.
func (s *AppServer) Validate() error {
	if err := s.check(KindAppServer, &s.Spec); err != nil {
		return err
	}
	if err := s.Spec.App.Validate(); err != nil {
		return at("spec.app", err)
	}
	if want := ServerName(s.Spec.App.Metadata.Name, s.Spec.HostID); s.Metadata.Name != want {
		return fieldFault("metadata.name", "%q is not %q", s.Metadata.Name, want)
	}
	return firstErr(at("spec.host_id", CheckName("host", s.Spec.HostID)), at("spec.hostname", CheckHostname(s.Spec.Hostname)),
		s.Status.TargetHealth.validate("status.target_health"))
}

// AppRoute is what a route to an app narrows, and what it tells of the app. Empty
// fields narrow nothing.
type AppRoute struct {
	SessionID         string // of the visit; auth makes it
	PublicAddr        string
	AWSRoleARN        string
	AzureIdentity     string
	GCPServiceAccount string
	TargetPort        int // of a tcp app
}

// Parameters of routes to apps.
const (
	routeAppSession = "session_id"
	routeAppAddr    = "public_addr"
	routeAppAWS     = "aws_role_arn"
	routeAppAzure   = "azure_identity"
	routeAppGCP     = "gcp_service_account"
	routeAppPort    = "target_port"
)

// RouteAs is the use of an app as a role or identity of its cloud; of an app of no
// cloud there is only one use.
func (s *AppSpec) RouteAs(principal string) AppRoute {
	switch s.Cloud {
	case CloudAWS:
		return AppRoute{AWSRoleARN: principal}
	case CloudAzure:
		return AppRoute{AzureIdentity: principal}
	case CloudGCP:
		return AppRoute{GCPServiceAccount: principal}
	}
	return AppRoute{}
}

// Route makes the route of a certificate for one app.
func (a AppRoute) Route(app string) *Route {
	r := &Route{Kind: KindApp, Name: app, Params: map[string]string{}}
	port := ""
	if a.TargetPort > 0 {
		port = strconv.Itoa(a.TargetPort)
	}
	for key, v := range map[string]string{routeAppSession: a.SessionID, routeAppAddr: a.PublicAddr, routeAppAWS: a.AWSRoleARN,
		routeAppAzure: a.AzureIdentity, routeAppGCP: a.GCPServiceAccount, routeAppPort: port} {
		if v != "" {
			r.Params[key] = v
		}
	}
	return r
}

// AppRouteOf reads the route of a certificate. A port that cannot be read is -1,
// which no app has.
func AppRouteOf(r *Route) AppRoute {
	if r == nil {
		return AppRoute{}
	}
	a := AppRoute{SessionID: r.Params[routeAppSession], PublicAddr: r.Params[routeAppAddr], AWSRoleARN: r.Params[routeAppAWS],
		AzureIdentity: r.Params[routeAppAzure], GCPServiceAccount: r.Params[routeAppGCP]}
	if text := r.Params[routeAppPort]; text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if a.TargetPort = int(n); err != nil || n == 0 {
			a.TargetPort = -1
		}
	}
	return a
}
