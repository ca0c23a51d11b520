package webapi

import (
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/cert/jwtcert"
	"teleport/fault"
	"teleport/types"
)

// Answers of the public routes. Field names are those that clients of such a
// cluster expect.
type (
	pingAnswer struct {
		Auth             *authAnswer `json:"auth,omitempty"`
		Proxy            proxyAnswer `json:"proxy"`
		ServerVersion    string      `json:"server_version"`
		MinClientVersion string      `json:"min_client_version"`
		ClusterName      string      `json:"cluster_name"`
	}
	authAnswer struct {
		Type              string         `json:"type"`
		SecondFactor      string         `json:"second_factor"`
		SecondFactors     []string       `json:"second_factors"`
		DefaultSessionTTL types.Duration `json:"default_session_ttl"`
		AlgorithmSuite    string         `json:"signature_algorithm_suite"`
		MessageOfTheDay   string         `json:"message_of_the_day,omitempty"`
		HasMOTD           bool           `json:"has_motd"`
		AllowLocal        bool           `json:"allow_local"`
	}
	proxyAnswer struct {
		SSH               sshAnswer `json:"ssh"`
		DB                dbAnswer  `json:"db"`
		TLSRoutingEnabled bool      `json:"tls_routing_enabled"`
	}
	dbAnswer struct {
		MySQLListenAddr string `json:"mysql_listen_addr,omitempty"`
		MySQLPublicAddr string `json:"mysql_public_addr,omitempty"`
	}
	sshAnswer struct {
		PublicAddr    string `json:"public_addr"`
		SSHPublicAddr string `json:"ssh_public_addr"`
		TunnelPublic  string `json:"ssh_tunnel_public_addr"`
		DialTimeout   int64  `json:"dial_timeout"` // nanoseconds
	}
)

func (h *Handler) find(w http.ResponseWriter, _ *http.Request, _ rpc.Caller) error {
	return rpc.WriteJSON(w, h.describe())
}

func (h *Handler) describe() pingAnswer {
	s := h.o.Policy.Settings()
	timeout := s.Networking.SSHDialTimeout.Std()
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	addr := h.o.PublicAddr
	db := dbAnswer{MySQLListenAddr: h.o.MySQLListenAddr}
	if len(h.o.MySQLPublicAddrs) > 0 {
		db.MySQLPublicAddr = h.o.MySQLPublicAddrs[0]
	}
	return pingAnswer{ServerVersion: h.o.Version, MinClientVersion: types.MinClientVersion, ClusterName: h.o.Cluster,
		Proxy: proxyAnswer{TLSRoutingEnabled: true, DB: db,
			SSH: sshAnswer{PublicAddr: addr, SSHPublicAddr: addr, TunnelPublic: addr, DialTimeout: int64(timeout)}}}
}

func (h *Handler) ping(w http.ResponseWriter, _ *http.Request, _ rpc.Caller) error {
	s := h.o.Policy.Settings().Auth
	a := h.describe()
	factors := s.SecondFactors
	if len(factors) == 0 {
		factors = []string{"otp"}
	}
	ttl := s.DefaultSessionTTL.Std()
	if ttl == 0 {
		ttl = types.DefaultSessionTTL
	}
	a.Auth = &authAnswer{Type: or(s.Type, "local"), SecondFactor: factors[0], SecondFactors: factors,
		DefaultSessionTTL: types.Duration(ttl), AlgorithmSuite: or(s.SignatureAlgorithmSuite, "balanced-v1"),
		MessageOfTheDay: s.MessageOfTheDay, HasMOTD: s.MessageOfTheDay != "", AllowLocal: s.AllowLocalAuth == nil || *s.AllowLocalAuth}
	return rpc.WriteJSON(w, a)
}

// exportTypes maps the names of the public export to the authority and the half of it.
var exportTypes = map[string]struct {
	ca  types.CAType
	tls bool
}{
	"user": {types.CAUser, false}, "host": {types.CAHost, false}, "openssh": {types.CAOpenSSH, false},
	"tls-user": {types.CAUser, true}, "tls-host": {types.CAHost, true}, "tls": {types.CAHost, true},
	"db": {types.CADB, true}, "db-client": {types.CADBClient, true},
}

// export hands out public halves of authorities.
func (h *Handler) export(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	want, ok := exportTypes[r.URL.Query().Get("type")]
	if !ok {
		return fault.New(fault.Invalid, "type must be one of user, host, openssh, tls-user, tls-host, db, db-client")
	}
	var out strings.Builder
	for _, ca := range h.o.Policy.Trust().Authorities() {
		if ca.Spec.Type != want.ca {
			continue
		}
		for _, k := range append([]types.CAKeys{ca.Spec.Active}, ca.Spec.Additional...) {
			switch {
			case want.tls:
				out.WriteString(k.TLSCert)
			case want.ca == types.CAHost:
				out.WriteString("@cert-authority *." + h.o.Cluster + " " + strings.TrimSpace(k.SSHPublic) + " type=host\n")
			default:
				out.WriteString(strings.TrimSpace(k.SSHPublic) + "\n")
			}
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte(out.String()))
	return err
}

// Request and answer of tsh's login.
type (
	certsRequest struct {
		User     string `json:"user"`
		Password string `json:"password"`
		OTP      string `json:"otp_token"`
		SSHKey   string `json:"ssh_pub_key"`
		TLSKey   string `json:"tls_pub_key"` // base64 of PKIX DER
		TTL      int64  `json:"ttl"`         // seconds; 0 asks for the cluster's default
	}
	certsAnswer struct {
		Username    string   `json:"username"`
		Cluster     string   `json:"cluster"`
		SSHCert     string   `json:"ssh_cert"`
		TLSCert     string   `json:"tls_cert"` // base64 of PEM
		Authorities []rawDoc `json:"authorities"`
		Expires     int64    `json:"expires"` // Unix seconds
	}
	rawDoc []byte
)

// MarshalJSON writes a document as it is.
func (d rawDoc) MarshalJSON() ([]byte, error) { return d, nil }

func (h *Handler) sshCerts(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	var in certsRequest
	if err := rpc.DecodeJSON(r, &in); err != nil {
		return err
	}
	der, err := base64.StdEncoding.DecodeString(in.TLSKey)
	if err != nil {
		return fault.New(fault.Invalid, "tls_pub_key is not base64")
	}
	addr, err := h.ClientAddr(r)
	if err != nil {
		return err
	}
	out, err := h.o.Auth.Login(r.Context(), &loginv1.LoginRequest{User: in.User, Password: in.Password, Otp: in.OTP,
		Keys: &loginv1.UserKeys{SshPublic: in.SSHKey, TlsPublic: der}, TtlSeconds: in.TTL,
		ClientAddr: addr.String(), UserAgent: userAgent(r)})
	if err != nil {
		return err
	}
	a := certsAnswer{Username: out.User, Cluster: out.Cluster, SSHCert: out.SshCert,
		TLSCert: base64.StdEncoding.EncodeToString(out.TlsCert), Expires: out.ExpiresUnix, Authorities: []rawDoc{}}
	for _, doc := range out.Authorities {
		a.Authorities = append(a.Authorities, doc)
	}
	return rpc.WriteJSON(w, a)
}

// userAgent is what the client calls itself, cut to what a log needs.
func userAgent(r *http.Request) string {
	s := r.UserAgent()
	if len(s) > 256 {
		s = s[:256]
	}
	return s
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// jwks are the keys by which apps verify what they are told of users; in a rotation
// the old ones and the new.
func (h *Handler) jwks(w http.ResponseWriter, _ *http.Request, _ rpc.Caller) error {
	set, err := jwtcert.KeySet(h.o.Policy.Trust(), h.o.Cluster)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	_, err = w.Write(set)
	return err
}
