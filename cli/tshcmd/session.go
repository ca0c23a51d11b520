package tshcmd

import (
	"os/user"
	"time"

	"teleport/client"
	"teleport/client/identityfile"
	"teleport/client/profile"
	"teleport/fault"
	"teleport/netx/alpndial"
)

// session is who one is for the length of a command: a stored profile, or an
// identity file with the proxy named beside it.
type session struct {
	profile *profile.Profile
	cred    *identityfile.Credential
	dir     *profile.Dir // nil with an identity file
}

// open finds the profile that the global flags mean and reads its credential.
// Whether the credential has ended is not looked at: see valid.
func (a *app) open() (*session, error) {
	if a.global.identity != "" {
		return a.openIdentity()
	}
	dir, err := a.dir()
	if err != nil {
		return nil, err
	}
	p, err := a.pick(dir)
	if err != nil {
		return nil, loggedOut(err)
	}
	cred, err := dir.Credential(p)
	if err != nil {
		return nil, loggedOut(err)
	}
	return &session{p, cred, dir}, nil
}

// loggedOut gives a missing profile the exit code of an expired one: for a
// script both mean that somebody has to log in.
func loggedOut(err error) error {
	if fault.KindOf(err) != fault.NotFound {
		return err
	}
	return fault.Advise(fault.Wrap(err, fault.Unauthenticated, "%s", fault.Message(err)), "%s", fault.Hint(err))
}

// valid opens the session and refuses a credential that has ended.
func (a *app) valid() (*session, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	if err := s.cred.Check(time.Now()); err != nil {
		if s.dir != nil {
			err = fault.Advise(err, "log in again: tsh login --proxy=%s --user=%s", s.profile.WebProxyAddr, s.profile.User)
		}
		return nil, err
	}
	if c := a.global.cluster; c != "" && c != s.profile.Cluster {
		return nil, fault.New(fault.NotFound, "cluster %q is not known here", c).WithHint("list the clusters: tsh clusters")
	}
	return s, nil
}

func (a *app) dir() (*profile.Dir, error) {
	path, err := profile.DefaultPath(a.getenv)
	if err != nil {
		return nil, err
	}
	return profile.Open(path)
}

// pick chooses the stored profile: the proxy that was named, else the current one.
func (a *app) pick(dir *profile.Dir) (*profile.Profile, error) {
	p, err := dir.Current()
	if a.global.proxy != "" {
		p, err = dir.Load(a.global.proxy)
	}
	if err != nil {
		return nil, err
	}
	if a.global.user != "" && a.global.user != p.User {
		return nil, fault.New(fault.NotFound, "you are logged in to %s as %s, not as %s", p.Name(), p.User, a.global.user).
			WithHint("log in as that user: tsh login --proxy=%s --user=%s", p.WebProxyAddr, a.global.user)
	}
	return p, nil
}

func (a *app) openIdentity() (*session, error) {
	cred, err := identityfile.ReadFile(a.global.identity)
	if err != nil {
		return nil, err
	}
	p, err := a.identityProfile(cred)
	if err != nil {
		return nil, err
	}
	return &session{profile: p, cred: cred}, nil
}

// identityProfile says which proxy an identity file is used with: the one that
// was named, else the one that a log-in to the same cluster used.
func (a *app) identityProfile(cred *identityfile.Credential) (*profile.Profile, error) {
	if a.global.proxy == "" {
		if dir, err := a.dir(); err == nil {
			if p, err := dir.Current(); err == nil && p.Cluster == cred.Cluster() {
				own := *p
				own.User = cred.User()
				return &own, nil
			}
		}
		return nil, fault.New(fault.Invalid, "an identity file does not say which proxy to use").WithHint("add --proxy=HOST[:PORT]")
	}
	return &profile.Profile{WebProxyAddr: a.global.proxy, User: cred.User(), Cluster: cred.Cluster(), TLSRouting: true}, nil
}

// connect makes a client of the session's cluster. Nothing is dialled yet.
func (a *app) connect() (*client.Client, *session, error) {
	s, err := a.valid()
	if err != nil {
		return nil, nil, err
	}
	way, err := a.upgrade(s.profile)
	if err != nil {
		return nil, nil, err
	}
	c, err := client.New(client.Config{ProxyAddr: s.profile.WebProxyAddr, Cluster: s.profile.Cluster, Credential: s.cred, Upgrade: way,
		NoResume: a.global.noResume, Paused: a.pauses.changed})
	return c, s, err
}

// upgrade tells how connections pass a layer-7 balancer: as the environment
// says, else as found at log-in.
func (a *app) upgrade(p *profile.Profile) (alpndial.Upgrade, error) {
	way, err := alpndial.ParseUpgrade(a.getenv(alpndial.EnvUpgrade))
	if err == nil && way == alpndial.UpgradeAuto && p.UpgradeNeeded {
		way = alpndial.UpgradeYes
	}
	return way, err
}

// osUser is the name of this machine's user.
func (a *app) osUser() string {
	if u := a.getenv("USER"); u != "" {
		return u
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
