package sshaccess

import (
	"testing"
	"time"

	"teleport/access"
	"teleport/sshserver"
	"teleport/types"
)

// alone is a policy without anything but settings.
type alone struct {
	access.View
	settings access.Settings
}

func (p alone) Settings() access.Settings { return p.settings }

// A moderator whose laptop sleeps is not there: who joins must answer, however
// long their stream would be kept and however patient the cluster is otherwise.
func TestWhoJoinsMustAnswer(t *testing.T) {
	patient, hasty := access.Settings{}, access.Settings{}
	patient.Networking.KeepAliveInterval, patient.Networking.KeepAliveCountMax = types.Duration(time.Hour), 100
	hasty.Networking.KeepAliveInterval, hasty.Networking.KeepAliveCountMax = types.Duration(5*time.Second), 1
	for name, c := range map[string]struct {
		login    string
		settings access.Settings
		within   time.Duration
	}{
		"somebody who joins":                      {types.JoinLogin, access.Settings{}, 45 * time.Second},
		"somebody who joins in a patient cluster": {types.JoinLogin, patient, 45 * time.Second},
		"somebody who joins in a hasty one":       {types.JoinLogin, hasty, 10 * time.Second},
		"somebody who works here":                 {"root", access.Settings{}, time.Hour},
	} {
		svc := &Service{cfg: policyless()}
		svc.cfg.Policy = alone{settings: c.settings}
		cn := svc.newConn(Inbound{Kept: 10 * time.Minute}, nil)
		cn.peer = &sshserver.Conn{Login: c.login}
		every, tries := cn.keepAlive()
		if gone := every * time.Duration(tries+1); gone > c.within {
			t.Errorf("%s may be away for %s", name, gone)
		} else if c.login != types.JoinLogin && gone < 10*time.Minute {
			t.Errorf("%s may be away for %s only, and their stream is kept longer", name, gone)
		}
	}
}
