package sshserver_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/netx/memnet"
	"teleport/sshserver"
)

// A client that answers stays for hours; one that has gone silent does not.
func TestKeepAlive(t *testing.T) {
	for name, answers := range map[string]bool{"an answering client stays": true, "a silent client goes": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := signer(t)
				s := newServer(t, ca)
				s.cfg.KeepAlive = func() (time.Duration, int) { return 5 * time.Minute, 3 }
				srv, err := sshserver.New(s.cfg)
				if err != nil {
					t.Fatal(err)
				}
				near, far := memnet.Pipe()
				ended := make(chan error, 1)
				go func() { ended <- srv.Serve(t.Context(), far, netip.MustParseAddrPort("192.0.2.1:1")) }()
				conn, chans, reqs, err := ssh.NewClientConn(near, "", &ssh.ClientConfig{User: "root", HostKeyCallback: ssh.InsecureIgnoreHostKey(),
					Auth: []ssh.AuthMethod{ssh.PublicKeys(certified(t, ca, "alice", ssh.UserCert, "root"))}})
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					for range chans { // the server opens none
					}
				}()
				var silent []*ssh.Request
				go func() {
					for r := range reqs {
						if !answers {
							silent = append(silent, r)
							continue
						}
						if err := r.Reply(false, nil); err != nil {
							return
						}
					}
				}()
				start := time.Now()
				select {
				case <-ended:
					if lived := time.Since(start); answers || lived > 25*time.Minute {
						t.Errorf("the connection ended after %v", lived)
					}
				case <-time.After(6 * time.Hour):
					if !answers {
						t.Error("a silent client still has its connection")
					}
				}
				conn.Close()
				if answers {
					<-ended
				}
				synctest.Wait()
			})
		})
	}
}
