// Package admincert keeps the administrator's certificate in the data directory
// of an auth host: tctl works there without a login, for whoever may read the
// file. It is one file, admin/identity.json, mode 0600, replaced whole.
package admincert

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"teleport/cert"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
	"teleport/wholefile"
)

// maxFile bounds what Load reads.
const maxFile = 1 << 20

// Admin is the administrator's credential.
type Admin struct {
	Cluster     string
	Key         []byte // PEM, PKCS #8
	Certificate []byte // PEM
	Authorities []*types.CertAuthority
}

// file is the form on disk.
type file struct {
	Version     int                    `json:"version"`
	Cluster     string                 `json:"cluster"`
	Key         string                 `json:"key"`
	Certificate string                 `json:"certificate"`
	Authorities []*types.CertAuthority `json:"authorities"`
}

// Path is where the file of a data directory is.
func Path(dataDir string) string { return filepath.Join(dataDir, "admin", "identity.json") }

// Write replaces the file, atomically and durably.
func Write(dataDir string, a Admin) error {
	path := Path(dataDir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return cannot("written", path, err)
	}
	b, err := json.Marshal(file{1, a.Cluster, string(a.Key), string(a.Certificate), a.Authorities})
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the admin certificate cannot be encoded")
	}
	if err := wholefile.Write(path, b, 0o600); err != nil {
		return cannot("written", path, err)
	}
	return nil
}

// Load reads the file. Without one, or without the right to read it, the fault
// says what to do.
func Load(dataDir string) (*Admin, error) {
	path := Path(dataDir)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(err, fault.NotFound, "there is no auth service with the data directory %s", dataDir)
	}
	if err != nil {
		return nil, cannot("read", path, err)
	}
	defer func() { _ = f.Close() }() // opened for reading only
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cannot("read", path, err)
	}
	var c file
	if len(b) > maxFile || json.Unmarshal(b, &c) != nil || c.Version != 1 {
		return nil, fault.New(fault.Invalid, "the admin certificate in %s is damaged", path).
			WithHint("restart the auth service: it writes a new one")
	}
	return &Admin{Cluster: c.Cluster, Key: []byte(c.Key), Certificate: []byte(c.Certificate), Authorities: c.Authorities}, nil
}

// TLS returns the credential as a client presents it, and the trust that it
// checks the auth service with.
func (a *Admin) TLS() (*tls.Certificate, *cert.Trust, error) {
	key, err := keys.ParsePrivate(a.Key)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(a.Certificate)
	if block == nil {
		return nil, nil, fault.New(fault.Invalid, "the admin certificate is damaged")
	}
	trust, err := cert.NewTrust(a.Authorities)
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}, trust, err
}

func cannot(what, path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fault.New(fault.Denied, "the admin certificate %s cannot be %s: permission denied", path, what).
			WithHint("run as the user of the auth service, or as root")
	}
	return fault.Wrap(err, fault.Unavailable, "the admin certificate %s cannot be %s", path, what)
}
