package sshaccess

import (
	"teleport/access"
	"teleport/types"
)

// track tells the cluster of a shell or a command. Transfers of files are told
// by their events alone: nobody joins them.
func (s *channel) track(j job) {
	if j.kind == "subsystem" {
		return
	}
	id := s.cn.peer.Identity
	s.cn.svc.cfg.Trackers.Begin(s.id, types.SessionTrackerSpec{
		State: "running", Kind: "ssh", User: id.Name, Cluster: id.Cluster, Roles: id.Authority.Roles, Login: s.cn.peer.Login,
		HostID: s.cn.svc.cfg.HostID, Hostname: s.cn.svc.cfg.Hostname, Created: s.start.UTC(),
		Participants: []types.Participant{{ID: s.cn.id, User: id.Name, Mode: access.ModePeer, LastActive: s.start.UTC()}},
	})
}
