package sshaccess

import (
	"os"
	"sync"
	"syscall"

	"teleport/fault"
	"teleport/sshaccess/spawn"
	"teleport/sshaccess/userchild"
)

// socketHelper is the connection's child that makes sockets as the user. It is
// started by the first forward that needs it.
type socketHelper struct {
	*userchild.Client
	proc *spawn.Process
	wg   sync.WaitGroup
}

func noHelper() error {
	return fault.New(fault.Unimplemented, "this node was built without the helper for file transfer and forwarding")
}

// childSpec is a run of the helper program as the user.
func (cn *conn) childSpec(mode string) (spawn.Spec, error) {
	if cn.svc.cfg.Child == nil {
		return spawn.Spec{}, noHelper()
	}
	d := cn.svc.cfg.Accounts.Defaults()
	return spawn.Spec{
		Account: cn.acct, Program: cn.svc.cfg.Child.Path(), Args: []string{"teleport-userchild", mode}, Umask: d.Umask,
		Env: []string{"HOME=" + cn.acct.Home, "USER=" + cn.acct.Name, "LOGNAME=" + cn.acct.Name, "PATH=" + d.Path, "GOMAXPROCS=2", "GOGC=50"},
	}, nil
}

// sockets returns the helper, started if need be.
func (cn *conn) sockets() (*socketHelper, error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.helper != nil {
		return cn.helper, nil
	}
	h, err := cn.startHelper()
	if err != nil {
		return nil, err
	}
	cn.helper = h
	return h, nil
}

func (cn *conn) startHelper() (*socketHelper, error) {
	spec, err := cn.childSpec(userchild.ModeSockets)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := userchild.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer null.Close()
	spec.Dir, spec.Stdin, spec.Stdout, spec.Stderr = "/", theirs, null, null
	proc, err := spawn.Start(spec)
	if err != nil {
		ours.Close()
		return nil, err
	}
	h := &socketHelper{Client: userchild.NewClient(ours), proc: proc}
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		if err := h.Serve(); err != nil {
			cn.svc.cfg.Log.Debug("socket helper ended", "reason", err)
		}
		proc.Wait() //nolint:errcheck // only reaped
	}()
	return h, nil
}

// close lets the child clean up after itself, and waits for its end.
func (h *socketHelper) close() {
	h.Client.Close()               //nolint:errcheck // ends the child
	h.proc.Signal(syscall.SIGCONT) //nolint:errcheck // its user may have stopped it
	h.wg.Wait()
}
