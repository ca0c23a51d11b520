package profile

import (
	"crypto"
	"crypto/x509"
	"time"
)

// App is an app that programs reach with a certificate of their own, which lies in
// files of the profile.
type App struct {
	Name              string    `yaml:"name"` // in the cluster
	URI               string    `yaml:"uri"`
	PublicAddr        string    `yaml:"public_addr,omitempty"`
	AWSRoleARN        string    `yaml:"aws_role_arn,omitempty"`
	AzureIdentity     string    `yaml:"azure_identity,omitempty"`
	GCPServiceAccount string    `yaml:"gcp_service_account,omitempty"`
	TargetPort        int       `yaml:"target_port,omitempty"`
	Expires           time.Time `yaml:"-"` // of the certificate
}

// AppPaths returns where the certificate of an app and its key lie, and the
// authority of the proxy that takes it.
func (d *Dir) AppPaths(p *Profile, name string) RoutePaths { return d.routePaths(p, apps, name) }

// SaveApp keeps the certificate of an app and its key.
func (d *Dir) SaveApp(p *Profile, app *App, cert *x509.Certificate, key crypto.Signer) error {
	return d.saveRoute(p, apps, app.Name, app, cert, key)
}

// Apps lists those of a profile in the order of their names, with such whose
// certificate has ended. What cannot be read is left out.
func (d *Dir) Apps(p *Profile) ([]*App, error) {
	names, err := d.routes(p, apps)
	var list []*App
	for _, name := range names {
		app := new(App)
		if leaf := d.readRoute(p, apps, name, app); leaf != nil && app.Name == name {
			app.Expires = leaf.NotAfter
			list = append(list, app)
		}
	}
	return list, err
}

// RemoveApp forgets the certificate of an app and its key.
func (d *Dir) RemoveApp(p *Profile, name string) error { return d.removeRoute(p, apps, name) }
