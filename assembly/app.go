package assembly

import (
	"context"
	"time"

	"teleport/agent/agentd"
	"teleport/api/gen/issuev1"
	"teleport/appaccess"
	"teleport/appaccess/cloudapp"
	"teleport/appaccess/dumper"
	"teleport/cloud/awscloud"
	"teleport/cloud/azurecloud"
	"teleport/cloud/gcpcloud"
	"teleport/lifecycle"
	"teleport/types"
)

var _ agentd.Service = (*appaccess.Service)(nil)

// buildApp makes the app service: what its file names and what is registered with
// labels that it looks for.
func (p *Process) buildApp(ctx context.Context) error {
	id := p.member.Identity()
	record, err := p.recorder(false)
	if err != nil {
		return err
	}
	fronted, err := newFronted(p, p.frontableApps())
	if err != nil {
		return err
	}
	aws, google, azure := &awscloud.Cloud{}, gcpcloud.New(gcpcloud.Options{}), azurecloud.New(azurecloud.Options{})
	clouds := &cloudapp.Engine{AWS: aws, Azure: azure, Google: google}
	dialer := appaccess.Hosts{Allowed: p.cfg.App.AllowedHosts, Denied: p.cfg.App.DeniedHosts}.Dialer()
	if p.cfg.App.Debug {
		debug := dumper.New(dialer, p.log)
		p.group.Add(lifecycle.Service{Name: "the app that shows headers", Serve: debug.Serve})
		dialer = debug
	}
	service, err := appaccess.New(appaccess.Config{HostID: id.Name, Hostname: p.cfg.Nodename, Cluster: id.Cluster, Apps: fronted.list,
		TLS: p.member.Source(), Policy: p.replica, Audit: p.writer, Sessions: p.sessions, Recorder: record, Dialer: dialer, Log: p.log,
		Cache: p.decisions, Token: p.appToken, Clouds: clouds.Clouds()})
	if err != nil {
		return err
	}
	p.services = append(p.services, service)
	p.apps, fronted.check = fronted, service.Check
	fronted.run(ctx)
	p.group.Add(lifecycle.Service{Name: "requests to apps", Serve: func(ctx context.Context) error {
		defer aws.Wait()
		defer google.Wait()
		defer azure.Wait()
		defer clouds.Close()
		return service.Run(ctx)
	}})
	return nil
}

// frontableApps is what this agent knows of apps.
func (p *Process) frontableApps() frontable[*types.App] {
	return frontable[*types.App]{
		kind: types.KindApp, what: "apps", file: p.cfg.App.Apps, matchers: p.cfg.App.Matchers,
		registered: func() []*types.App { return p.replica.Apps() },
		serves:     func(*types.App) bool { return true },
		copy:       func(a *types.App) *types.App { own := *a; return &own },
		dynamic:    func(a *types.App) *map[string]types.CommandLabel { return &a.Spec.DynamicLabels },
		server: func(a *types.App, host, hostname string, health types.TargetHealth) types.FrontedServer {
			return &types.AppServer{Spec: types.AppServerSpec{HostID: host, Hostname: hostname, Version: types.Release, App: *a},
				Status: types.AppServerStatus{TargetHealth: health}}
		},
		address: func(a *types.App) (string, error) { return a.Spec.Address(0) },
	}
}

// appToken gets what an app is told of a user.
func (p *Process) appToken(ctx context.Context, u appaccess.Use) (types.Secret, time.Time, error) {
	resp, err := p.client.AppToken(ctx, &issuev1.AppTokenRequest{UserCert: u.Certificate.Raw, App: u.App.Metadata.Name, ClientAddr: u.Client.String()})
	if err != nil {
		return types.Secret{}, time.Time{}, err
	}
	return types.NewSecret(resp.Token), time.Unix(resp.ExpiresUnix, 0), nil
}
