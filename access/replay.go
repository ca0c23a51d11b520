package access

import (
	"net/netip"
	"slices"
	"strings"

	"teleport/fault"
	"teleport/predicate"
	"teleport/types"
	"teleport/types/event"
)

// permits name the switches of a certificate in a record.
var permits = []struct {
	name string
	of   func(*types.Authority) *bool
}{
	{"pty", func(a *types.Authority) *bool { return &a.PermitPTY }},
	{"agent_forwarding", func(a *types.Authority) *bool { return &a.PermitAgent }},
	{"port_forwarding", func(a *types.Authority) *bool { return &a.PermitPortForward }},
	{"x11_forwarding", func(a *types.Authority) *bool { return &a.PermitX11 }},
}

// Record is a decision about the use of a resource with all that it was made
// from, but for the policy, which the revision names. Replay reads it back.
func Record(r Request, d Decision) event.Decision {
	e := event.Decision{
		Allow: d.Allow, Action: string(r.Action), Policy: d.Policy, Role: d.Role, Rule: d.Rule,
		Labels: r.Labels, Login: r.Login, LocksStale: r.LocksStale, Live: r.Live, HostID: r.HostID,
		Deadline: d.Limits.Deadline, At: r.Now,
	}
	if r.ClientAddr.IsValid() {
		e.ClientAddr = r.ClientAddr.String()
	}
	if d.Limits.IdleTimeout > 0 {
		e.Idle = d.Limits.IdleTimeout.String()
	}
	for _, x := range d.Reasons {
		e.Reasons = append(e.Reasons, x.Code)
	}
	if r.Resource != nil {
		h := r.Resource.Head()
		e.ResourceKind, e.ResourceName = h.Kind, h.Metadata.Name
		if e.Labels == nil {
			e.Labels = labelsOf(r.Resource)
		}
	}
	if db := databaseOf(r.Resource); db != nil {
		e.ResourceKind, e.ResourceName = types.KindDatabase, db.Metadata.Name // whichever agent's
		e.DBName, e.DBRoles, e.DBProtocol, e.DBAutomatic = r.DBName, r.DBRoles, db.Spec.Protocol, db.Spec.AdminUser != nil
		if a := db.Spec.AdminUser; a != nil {
			e.DBAdmin = a.Name
		}
		if a := db.Spec.AWS; a != nil && db.Spec.Hosting() == types.HostedDynamoDB {
			e.DBAccount, e.DBRegion = a.AccountID, db.Spec.AWSRegion()
		}
	}
	recordApp(&e, r)
	recordBearer(&e, r.Identity)
	return e
}

// recordApp records what a decision about an app was made from.
func recordApp(e *event.Decision, r Request) {
	app := appOf(r.Resource)
	if app == nil {
		return
	}
	e.ResourceKind, e.ResourceName = types.KindApp, app.Metadata.Name // whichever agent's
	e.AppURI, e.AppCloud, e.AppPort = app.Spec.URI, app.Spec.Cloud, r.App.TargetPort
	e.AppAWSRole, e.AppAzureIdentity, e.AppGCPAccount = r.App.AWSRoleARN, r.App.AzureIdentity, r.App.GCPServiceAccount
	for _, p := range app.Spec.TCPPorts {
		e.AppPorts = append(e.AppPorts, p.String())
	}
}

// recallApp reads that back.
func recallApp(e event.Decision, app *types.App, r *Request) error {
	app.Spec.URI, app.Spec.Cloud = e.AppURI, e.AppCloud
	r.App = types.AppRoute{AWSRoleARN: e.AppAWSRole, AzureIdentity: e.AppAzureIdentity, GCPServiceAccount: e.AppGCPAccount, TargetPort: e.AppPort}
	for _, text := range e.AppPorts {
		p, err := types.ParseAppPort(text)
		if err != nil {
			return err
		}
		app.Spec.TCPPorts = append(app.Spec.TCPPorts, p)
	}
	return nil
}

func recordBearer(e *event.Decision, id *types.Identity) {
	if id == nil {
		return
	}
	a := &id.Authority
	e.User, e.Cluster, e.IdentityKind, e.IssuedAt = id.Name, id.Cluster, string(id.Kind), id.IssuedAt
	e.Roles, e.Traits, e.Logins, e.Usage, e.Expires = a.Roles, a.Traits, a.Logins, a.Usage, a.Ends()
	e.MFADevice, e.DeviceID, e.AccessRequests = id.Proofs.MFADevice, id.Proofs.DeviceID, id.Proofs.AccessRequests
	if a.PinnedIP.IsValid() {
		e.PinnedIP = a.PinnedIP.String()
	}
	if a.Route != nil {
		e.Route = a.Route.Cluster + "/" + a.Route.Kind + "/" + a.Route.Name
	}
	for _, id := range a.ResourceIDs {
		e.ResourceIDs = append(e.ResourceIDs, id.Cluster+"/"+id.Kind+"/"+id.Name)
	}
	for _, p := range permits {
		if *p.of(a) {
			e.Permits = append(e.Permits, p.name)
		}
	}
}

// Policy is what a recorded decision is made again from.
type Policy struct {
	Roles      func(names []string) []*types.Role
	Locks      []*types.Lock
	Settings   Settings
	Epoch      *types.UserEpochSpec
	Unreadable []string
	Revision   string
	Cache      *predicate.Cache
	// Hostname is how reasons name the node of the record; "": by its UUID.
	Hostname string
}

// Replay decides a recorded request again, under a policy. Under the policy of
// the record the answer is the one that was recorded. It returns fault.Invalid
// for a record that does not hold its whole input: one of an older version, or
// one whose sensitive fields were redacted.
func Replay(e event.Decision, p Policy) (Decision, error) {
	r, err := recall(e)
	if err != nil {
		return Decision{}, err
	}
	r.Roles, r.Locks, r.Settings, r.Epoch = p.Roles(e.Roles), p.Locks, p.Settings, p.Epoch
	r.Unreadable, r.Policy, r.Cache = p.Unreadable, p.Revision, p.Cache
	if n, ok := r.Resource.(*types.Node); ok {
		n.Spec.Hostname = p.Hostname
	}
	return Decide(r), nil
}

func recall(e event.Decision) (Request, error) {
	incomplete := func(what string) (Request, error) {
		return Request{}, fault.New(fault.Invalid, "the record of the decision does not hold %s", what)
	}
	kind, err := types.KindByName(e.ResourceKind)
	switch {
	case e.User == "" || e.IdentityKind == "":
		return incomplete("who asked")
	case err != nil || e.ResourceName == "":
		return incomplete("the resource")
	case e.At.IsZero():
		return incomplete("the time")
	case e.Login == "" && Action(e.Action) != ActionDial && Action(e.Action) != ActionList && Action(e.Action) != ActionApp:
		return incomplete("the login")
	}
	res := kind.New()
	h := res.Head()
	h.Kind, h.Metadata.Name, h.Metadata.Labels = kind.Name, e.ResourceName, e.Labels
	r := Request{Action: Action(e.Action), Resource: res, Labels: e.Labels, HostID: e.HostID, Login: e.Login,
		LocksStale: e.LocksStale, Live: e.Live, Now: e.At, DBName: e.DBName, DBRoles: e.DBRoles}
	if db := databaseOf(res); db != nil {
		if db.Spec.Protocol = e.DBProtocol; e.DBProtocol == "" {
			return incomplete("what the database speaks")
		}
		if e.DBAccount != "" {
			db.Spec.AWS = &types.DatabaseAWS{AccountID: e.DBAccount, Region: e.DBRegion}
		}
		if e.DBAutomatic {
			db.Spec.AdminUser = &types.DatabaseAdmin{Name: e.DBAdmin}
		}
	}
	if app := appOf(res); app != nil {
		if err := recallApp(e, app, &r); err != nil {
			return incomplete("the ports of the app")
		}
	}
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	if e.ClientAddr != "" {
		if r.ClientAddr, err = netip.ParseAddr(e.ClientAddr); err != nil {
			return incomplete("the client's address")
		}
	}
	r.Identity, err = recallBearer(e)
	return r, err
}

func recallBearer(e event.Decision) (*types.Identity, error) {
	id := &types.Identity{Kind: types.IdentityKind(e.IdentityKind), Cluster: e.Cluster, Name: e.User, IssuedAt: e.IssuedAt}
	id.Proofs = types.Proofs{MFADevice: e.MFADevice, DeviceID: e.DeviceID, AccessRequests: e.AccessRequests}
	a := &id.Authority
	a.Roles, a.Traits, a.Logins, a.Usage, a.Expires = e.Roles, e.Traits, e.Logins, e.Usage, e.Expires
	if e.PinnedIP != "" {
		var err error
		if a.PinnedIP, err = netip.ParseAddr(e.PinnedIP); err != nil {
			return nil, fault.New(fault.Invalid, "the record of the decision holds no pinned address that can be read")
		}
	}
	if e.Route != "" {
		cluster, kind, name := cut3(e.Route)
		a.Route = &types.Route{Cluster: cluster, Kind: kind, Name: name}
	}
	for _, s := range e.ResourceIDs {
		cluster, kind, name := cut3(s)
		a.ResourceIDs = append(a.ResourceIDs, types.ResourceID{Cluster: cluster, Kind: kind, Name: name})
	}
	for _, p := range permits {
		*p.of(a) = slices.Contains(e.Permits, p.name)
	}
	return id, nil
}

// cut3 reads cluster/kind/name; a name may hold slashes.
func cut3(s string) (cluster, kind, name string) {
	cluster, rest, _ := strings.Cut(s, "/")
	kind, name, _ = strings.Cut(rest, "/")
	return cluster, kind, name
}
