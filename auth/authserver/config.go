// Package authserver is the auth service of one process: what a cluster needs at
// its first start (name, authorities, preset roles, settings), the certificates
// that the process issues to itself and to the local administrator, and the TLS
// listener of the API.
package authserver

import (
	"context"
	"log/slog"
	"time"

	"teleport/access"
	"teleport/api/rpc"
	"teleport/audit"
	"teleport/auth/authapi"
	"teleport/backend"
	"teleport/blob"
	"teleport/fault"
	"teleport/healthcheck"
	"teleport/join"
	"teleport/keys"
	"teleport/keystore"
	"teleport/types"
)

// Config is what an auth service is made of. Fields are required unless they say
// otherwise.
type Config struct {
	// ClusterName as configured; empty is the name of the first start, and at the
	// first start the host name.
	ClusterName string
	HostUUID    string
	Hostname    string
	Principals  []string // public addresses of this host without ports; may be empty
	Addr        string   // where this service is reached, host:port
	DataDir     string   // where the administrator's certificate goes; empty: nowhere
	Version     string
	Storage     string // what the backend is, for status
	Generation  uint64

	Backend  backend.Backend
	Keystore keystore.Keystore
	Suite    keys.Suite // empty: keys.DefaultSuite
	Audit    authapi.AuditLog
	Events   audit.Emitter
	// Blobs keeps the recordings of sessions; nil: none are kept. It needs DataDir,
	// and a Keystore that is a keystore.Sealer too.
	Blobs   blob.Store
	Methods []join.Method
	Log     *slog.Logger

	// StaticTokens are the join tokens of the configuration; what is not among
	// them any more no longer admits. May be empty.
	StaticTokens []StaticToken
	// Settings are singletons that the configuration sets; they replace what is
	// stored. Others keep what they have. May be empty.
	Settings []types.Resource
	// PublicAddr names a proxy's public address for links; nil: none known.
	PublicAddr func() string
	Limits     rpc.Limits
	Now        func() time.Time // nil: time.Now
	// HostTTL is the life of the certificates of processes; 0: ca.HostTTL.
	HostTTL time.Duration

	recordingKeys []types.RecordingPublicKey // to be published
}

// StaticToken is a join token that an administrator wrote into a config.
type StaticToken struct {
	Roles  []types.SystemRole
	Secret types.Secret
}

func (c *Config) check() error {
	if c.HostUUID == "" || c.Hostname == "" || c.Backend == nil || c.Keystore == nil || c.Audit == nil ||
		c.Events == nil || c.Log == nil || len(c.Methods) == 0 {
		return fault.New(fault.Internal, "the auth service is not completely configured")
	}
	if _, ok := c.Keystore.(keystore.Sealer); c.Blobs != nil && (!ok || c.DataDir == "") {
		return fault.New(fault.Internal, "recordings need a data directory and a keystore that seals")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// validate is what the store checks beside a document's own Validate.
func validate(_ context.Context, doc types.Resource) error {
	switch d := doc.(type) {
	case *types.Role:
		return access.Validate(d)
	case *types.HealthCheckConfig:
		return healthcheck.Validate(d)
	case *types.App:
		return access.ValidateApp(d)
	case *types.AppServer:
		return access.ValidateApp(&d.Spec.App)
	}
	return nil
}
