package ca

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"

	"teleport/cert"
	"teleport/keys"
	"teleport/types"
	"teleport/types/event"
)

// createEvent is the intent to sign: recorded before the key is used.
func (d *deciding) createEvent(id *types.Identity) *event.CertCreate {
	e := &event.CertCreate{
		Meta:     event.Meta{Type: event.TypeCertCreate, Code: event.CodeCertCreate},
		CertType: string(id.Kind), Profile: string(d.r.Profile), UserAgent: d.r.UserAgent,
		Identity:    identityForEvent(id),
		Fingerprint: fingerprint(d.r.Keys),
	}
	if id.Kind == types.IdentityBridge {
		e.CertType = string(types.IdentityUser)
	}
	switch d.r.Profile {
	case ProfileOpenSSH:
		e.Identity.ProxyUUID = d.caller.Name // who holds the key
	case ProfileAppToken:
		e.CertType, e.Identity.Hostname = string(types.CAJWT), d.caller.Name // who shows it to the app
	case ProfileDatabase:
		e.Identity.Hostname, e.Identity.Logins = d.caller.Name, []string{d.r.Login} // who holds it, and who it is in the database
	}
	if d.r.Addr.IsValid() {
		e.RemoteAddr = d.r.Addr.String()
	}
	e.UserCluster = d.i.c.Cluster
	switch {
	case d.parent != nil && (d.parent.Kind == types.IdentityUser || d.parent.Kind == types.IdentityBridge):
		e.User.User, e.UserKind, e.UserRoles = d.parent.Name, 1, d.parent.Authority.Roles
		e.Impersonator = d.parent.Proofs.Impersonator
	case d.parent != nil:
		e.User.User, e.UserKind = d.parent.Name+"."+d.parent.Cluster, 3
	case id.Kind == types.IdentityUser:
		e.User.User, e.UserKind, e.UserRoles = id.Name, 1, id.Authority.Roles
	default:
		e.User.User, e.UserKind = id.Name+"."+id.Cluster, 3
	}
	return e
}

func identityForEvent(id *types.Identity) event.Identity {
	a := &id.Authority
	out := event.Identity{
		User: id.Name, Impersonator: id.Proofs.Impersonator, Roles: a.Roles, Usage: a.Usage, Logins: a.Logins,
		Traits: a.Traits, Expires: a.Expires, Cluster: id.Cluster, MFADevice: id.Proofs.MFADevice, DeviceID: id.Proofs.DeviceID,
		AccessRequests: id.Proofs.AccessRequests, NoReissue: a.DisallowReissue, Renewable: a.Renewable,
		Hostname: a.Hostname, Principals: a.Principals, Generation: id.Generation, ProxyUUID: a.ProxyUUID,
	}
	for _, r := range a.SystemRoles {
		out.SystemRoles = append(out.SystemRoles, string(r))
	}
	for _, r := range a.ResourceIDs {
		out.ResourceIDs = append(out.ResourceIDs, strings.Join([]string{r.Cluster, r.Kind, r.Name}, "/"))
	}
	if a.Route != nil {
		out.Route = a.Route.Kind + "/" + a.Route.Name
	}
	if id.Proofs.LoginIP.IsValid() {
		out.ClientIP = id.Proofs.LoginIP.String()
	}
	if a.PinnedIP.IsValid() {
		out.PinnedIP = a.PinnedIP.String()
	}
	return out
}

// fingerprint names the certified key as OpenSSH does: of the SSH key where there
// is one, else of the TLS key's PKIX form.
func fingerprint(k Keys) string {
	if k.SSH != nil {
		return hashText(k.SSH.Marshal())
	}
	der, err := x509.MarshalPKIXPublicKey(k.TLS)
	if err != nil {
		return ""
	}
	return hashText(der)
}

func hashText(b []byte) string {
	sum := sha256.Sum256(b)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// createdEvent says that an authority was made. It names the key that people
// compare: the TLS key where there is one.
func createdEvent(doc *types.CertAuthority) (*event.CACreated, error) {
	e := &event.CACreated{Meta: event.Meta{Type: event.TypeCACreated, Code: event.CodeCACreated}}
	e.CAType, e.Phase = string(doc.Spec.Type), doc.Spec.Phase
	active := doc.Spec.Active
	switch {
	case active.TLSCert != "":
		c, err := cert.ParseAuthority([]byte(active.TLSCert))
		if err != nil {
			return nil, err
		}
		e.Fingerprint, e.NotAfter = keys.Pin(c), c.NotAfter
	case active.SSHPublic != "":
		key, err := keys.ParseSSHPublic(active.SSHPublic)
		if err != nil {
			return nil, err
		}
		e.Fingerprint = hashText(key.Marshal())
	default:
		e.Fingerprint = hashText([]byte(active.JWTPublic))
	}
	return e, nil
}
