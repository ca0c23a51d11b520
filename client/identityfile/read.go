package identityfile

import (
	"errors"
	"io/fs"
	"os"

	"teleport/fault"
)

// ReadFile reads the credential in a file. One that others may read is refused,
// as it holds private keys.
func ReadFile(path string) (*Credential, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Invalid, "the identity file %s does not exist", path)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the identity file %s cannot be read", path)
	}
	switch {
	case info.IsDir():
		return nil, fault.New(fault.Invalid, "the identity file %s is a directory", path)
	case info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0:
		return nil, fault.New(fault.Untrusted, "the identity file %s holds a private key and can be read by others", path).
			WithHint("make it private: chmod 600 %s", path)
	case info.Size() > MaxSize:
		return nil, fault.New(fault.Invalid, "the identity file %s is too large", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the identity file %s cannot be read", path)
	}
	cred, err := Decode(data)
	if err != nil {
		return nil, fault.Advise(fault.Wrap(err, fault.Invalid, "%s is not an identity file: %s", path, fault.Message(err)),
			"make one with: tsh login --out=FILE, or tctl auth sign --user=NAME --out=FILE")
	}
	return cred, nil
}
