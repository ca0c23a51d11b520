package assembly

import (
	"teleport/lifecycle"
	"teleport/recorder"
)

// recorder makes what records the sessions that end in this process, on the host
// or at the proxy. Both share the spool of the process.
func (p *Process) recorder(atProxy bool) (*recorder.Sessions, error) {
	if p.spool == nil {
		id := p.member.Identity()
		spool, err := recorder.NewSpool(recorder.SpoolOptions{Dir: p.dir("log", "upload"), HostID: id.Name, Cluster: id.Cluster, Generation: p.number,
			Quota: p.cfg.SpoolQuota, Upload: p.client, Audit: p.writer, Log: p.log})
		if err != nil {
			return nil, err
		}
		p.spool = spool
		p.closers = append(p.closers, spool.Close)
		p.group.Add(lifecycle.Service{Name: "recordings", Serve: spool.Serve})
	}
	return recorder.NewSessions(recorder.SessionsOptions{Spool: p.spool, AtProxy: atProxy, Keys: p.replica.RecordingKeys,
		Mode: func() string { return p.replica.Settings().Recording.Mode }})
}
