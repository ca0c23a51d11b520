package tctlcmd

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/api/gen/issuev1"
	"teleport/client/identityfile"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
	"teleport/wholefile"
)

func (a *app) authCmd() *cobra.Command {
	c := &cobra.Command{Use: "auth", Short: "Export authorities and sign certificates"}
	c.AddCommand(a.authExport(), a.authSign())
	return c
}

// exports maps --type to the authority and the half of it.
var exports = map[string]struct {
	ca       types.CAType
	tls, der bool
}{
	"user": {ca: types.CAUser}, "host": {ca: types.CAHost}, "openssh": {ca: types.CAOpenSSH},
	"tls-user": {ca: types.CAUser, tls: true}, "tls-host": {ca: types.CAHost, tls: true}, "tls-user-der": {ca: types.CAUser, tls: true, der: true},
	"db": {ca: types.CADB, tls: true}, "db-client": {ca: types.CADBClient, tls: true},
}

func (a *app) authExport() *cobra.Command {
	var kind, out string
	var fingerprint bool
	c := a.verb("export", "Print the public half of an authority", "  tctl auth export --type=user > user-ca.pub\n  tctl auth export --type=tls-host", cobra.NoArgs,
		func(ctx context.Context, api *authclient.Client, _ []string) error {
			want, ok := exports[kind]
			if !ok {
				return fault.New(fault.Invalid, "unknown type %q", kind).WithHint("Types: user, host, openssh, tls-user, tls-user-der, tls-host, db, db-client.")
			}
			st, err := api.Status(ctx)
			if err != nil {
				return err
			}
			var text strings.Builder
			for _, doc := range st.Authorities {
				ca := &types.CertAuthority{}
				if err := json.Unmarshal(doc, ca); err != nil {
					return err
				}
				if ca.Spec.Type != want.ca {
					continue
				}
				for _, k := range append([]types.CAKeys{ca.Spec.Active}, ca.Spec.Additional...) {
					if err := exportKey(&text, k, want.ca, want.tls, want.der, fingerprint, st.Cluster); err != nil {
						return err
					}
				}
			}
			return a.writeTo(out, []byte(text.String()), 0o644)
		})
	c.Flags().StringVar(&kind, "type", "user", "which authority: user, host, openssh, tls-user, tls-user-der, tls-host, db, db-client")
	c.Flags().StringVar(&out, "out", "", "write to this file")
	c.Flags().BoolVar(&fingerprint, "fingerprint", false, "print the fingerprint instead of the key")
	return c
}

func exportKey(w io.Writer, k types.CAKeys, ca types.CAType, tls, der, fingerprint bool, cluster string) error {
	if !tls {
		line := strings.TrimSpace(k.SSHPublic)
		pub, err := keys.ParseSSHPublic(line)
		if err != nil {
			return err
		}
		switch {
		case fingerprint:
			line = sshFingerprint(pub)
		case ca == types.CAHost:
			line = "@cert-authority *." + cluster + "," + cluster + " " + line
		}
		_, err = fmt.Fprintln(w, line)
		return err
	}
	block, _ := pem.Decode([]byte(k.TLSCert))
	if block == nil {
		return fault.New(fault.Internal, "the authority has no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	switch {
	case fingerprint:
		_, err = fmt.Fprintln(w, keys.Pin(cert))
	case der:
		_, err = w.Write(block.Bytes)
	default:
		_, err = io.WriteString(w, k.TLSCert)
	}
	return err
}

// writeTo writes to a file, whole or not at all, or to standard output.
func (a *app) writeTo(path string, data []byte, mode os.FileMode) error {
	if path == "" {
		_, err := a.Out.Write(data)
		return err
	}
	return fault.Unwritable(wholefile.Write(path, data, mode), path)
}

type signFlags struct {
	user, out, format string
	hosts             []string
	ttl               time.Duration
	overwrite         bool
}

func (a *app) authSign() *cobra.Command {
	var f signFlags
	c := a.verb("sign", "Issue certificates for a user or a host", "  tctl auth sign --user=ci --out=ci.id --ttl=1h\n  tctl auth sign --host=web-1.example.com --format=openssh --out=web-1\n  tctl auth sign --format=db --host=db.example.com --out=server --ttl=2190h", cobra.NoArgs,
		func(ctx context.Context, api *authclient.Client, _ []string) error {
			if (f.user == "") == (len(f.hosts) == 0) {
				return fault.New(fault.Invalid, "say either --user or --host")
			}
			if err := f.check(); err != nil {
				return err // before a certificate exists that nobody gets
			}
			if f.user != "" {
				return a.signUser(ctx, api, f)
			}
			if f.format == "db" || f.format == "redis" {
				return a.signDatabase(ctx, api, f)
			}
			return a.signHost(ctx, api, f)
		})
	c.Flags().StringVar(&f.user, "user", "", "user to issue certificates for")
	c.Flags().StringSliceVar(&f.hosts, "host", nil, "names of the host to issue a certificate for")
	c.Flags().StringVarP(&f.out, "out", "o", "", "base name of the files to write")
	c.Flags().StringVar(&f.format, "format", "file", "file (one identity file), openssh or tls; for database servers db or redis")
	c.Flags().DurationVar(&f.ttl, "ttl", 12*time.Hour, "how long the certificates are valid; roles may allow less")
	c.Flags().BoolVar(&f.overwrite, "overwrite", false, "replace files that exist")
	if err := c.MarkFlagRequired("out"); err != nil {
		return c // the flag was defined above
	}
	return c
}

// check looks at what can be known before anything is issued.
func (f signFlags) check() error {
	known := []string{"file", "openssh", "tls"}
	if f.user == "" {
		known = append(known[1:], "db", "redis")
	}
	if f.format != "" && !slices.Contains(known, f.format) && (f.user != "" || f.format != "file") {
		return fault.New(fault.Invalid, "unknown format %q", f.format).WithHint("formats: %s", strings.Join(known, ", "))
	}
	if f.ttl < time.Minute {
		return fault.New(fault.Invalid, "--ttl %s is too short: certificates last a minute or longer", f.ttl)
	}
	if info, err := os.Stat(filepath.Dir(f.out)); err != nil || !info.IsDir() {
		return fault.New(fault.Invalid, "the directory of --out=%s does not exist", f.out)
	}
	return nil
}

// freshKeys makes keys here: private halves never travel.
func freshKeys() (sshKey, tlsKey crypto.Signer, public *issuev1.PublicKeys, err error) {
	if sshKey, err = generate(keys.UserSSH); err != nil {
		return
	}
	if tlsKey, err = generate(keys.UserTLS); err != nil {
		return
	}
	line, err := keys.MarshalSSHPublic(sshKey.Public())
	if err != nil {
		return
	}
	der, err := x509.MarshalPKIXPublicKey(tlsKey.Public())
	return sshKey, tlsKey, &issuev1.PublicKeys{SshPublic: line, TlsPublic: der}, err
}

func generate(p keys.Purpose) (crypto.Signer, error) {
	alg, err := keys.AlgorithmFor(keys.DefaultSuite, p)
	if err != nil {
		return nil, err
	}
	return keys.Generate(alg)
}

func (a *app) signUser(ctx context.Context, api *authclient.Client, f signFlags) error {
	format := identityfile.Format(f.format)
	sshKey, tlsKey, public, err := freshKeys()
	if err != nil {
		return err
	}
	certs, err := api.SignUser(ctx, &issuev1.SignUserRequest{User: f.user, Keys: public, TtlSeconds: int64(f.ttl / time.Second)})
	if err != nil {
		return err
	}
	cred, err := assemble(sshKey, tlsKey, certs)
	if err != nil {
		return err
	}
	files, err := cred.Files(format, filepath.Base(f.out))
	if err != nil {
		return err
	}
	return a.writeFiles(f, files, "Valid until "+cred.Expires().Local().Format("2006-01-02 15:04 MST"))
}

func assemble(sshKey, tlsKey crypto.Signer, certs *issuev1.IssuedCerts) (*identityfile.Credential, error) {
	var docs []*types.CertAuthority
	for _, raw := range certs.Authorities {
		ca := &types.CertAuthority{}
		if err := json.Unmarshal(raw, ca); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the auth service sent an authority that this version cannot read")
		}
		docs = append(docs, ca)
	}
	trusted, err := identityfile.FromDocuments(docs, certs.Cluster)
	if err != nil {
		return nil, err
	}
	return identityfile.Assemble(sshKey, tlsKey, []byte(certs.SshCert), certs.TlsCert, trusted)
}

// signHost writes key and certificate for an OpenSSH server, or for a TLS one.
func (a *app) signHost(ctx context.Context, api *authclient.Client, f signFlags) error {
	sshKey, tlsKey, public, err := freshKeys()
	if err != nil {
		return err
	}
	certs, err := api.SignHost(ctx, &issuev1.SignHostRequest{Hosts: f.hosts, Keys: public, TtlSeconds: int64(f.ttl / time.Second)})
	if err != nil {
		return err
	}
	base := filepath.Base(f.out)
	var files []identityfile.File
	switch f.format {
	case "openssh", "file":
		key, err := identityfile.MarshalOpenSSHKey(sshKey)
		if err != nil {
			return err
		}
		files = []identityfile.File{{Name: base, Data: key, Private: true}, {Name: base + "-cert.pub", Data: []byte(strings.TrimSpace(certs.SshCert) + "\n")}}
	case "tls":
		key, err := keys.MarshalPrivate(tlsKey)
		if err != nil {
			return err
		}
		files = []identityfile.File{{Name: base + ".key", Data: key, Private: true}, {Name: base + ".crt", Data: certs.TlsCert}}
	default:
		return fault.New(fault.Invalid, "unknown format %q", f.format).WithHint("For hosts: openssh, tls, db, redis.")
	}
	return a.writeFiles(f, files, "Valid until "+time.Unix(certs.ExpiresUnix, 0).Format("2006-01-02 15:04 MST"))
}

// writeFiles writes all files beside --out, none of which may exist unless
// --overwrite was given.
func (a *app) writeFiles(f signFlags, files []identityfile.File, note string) error {
	dir := filepath.Dir(f.out)
	for _, x := range files {
		_, err := os.Lstat(filepath.Join(dir, x.Name))
		if !f.overwrite && !errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.AlreadyExists, "%s exists already", filepath.Join(dir, x.Name)).WithHint("Add --overwrite to replace it.")
		}
	}
	for _, x := range files {
		mode := os.FileMode(0o644)
		if x.Private {
			mode = 0o600
		}
		path := filepath.Join(dir, x.Name)
		if err := wholefile.Write(path, x.Data, mode); err != nil {
			return fault.Unwritable(err, path)
		}
		fmt.Fprintf(a.Out, "Wrote %s\n", filepath.Join(dir, x.Name))
	}
	_, err := fmt.Fprintln(a.Out, cmp.Or(note, "Done")+".")
	return err
}
