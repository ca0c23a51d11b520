package tshcmd

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"teleport/fault"
)

// readyVar names the file descriptor on which a process in the background says
// that it has connected.
const readyVar = "TSH_READY_FD"

// toBackground runs the same command line again in a session of its own and
// returns when that process is connected, so that a script can go on and rely
// on the forwarded ports (-f).
func (a *app) toBackground(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the path of tsh itself cannot be found")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(exe, a.args...)
	cmd.Env = append(append([]string(nil), a.environ...), readyVar+"=3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stdout, cmd.Stderr = a.file(a.out), a.file(a.errs)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the process in the background cannot be started")
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if n, _ := r.Read(make([]byte, 1)); n == 1 {
		return cmd.Process.Release()
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return exitCode(exit.ExitCode()) // it has said why
	}
	return nil
}

// file passes a real file on to the process in the background, which outlives
// this one; anything else would have to be copied by somebody.
func (a *app) file(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		return f
	}
	return nil
}

// signalReady tells the waiting parent, if there is one.
func (a *app) signalReady() {
	fd, err := strconv.Atoi(a.getenv(readyVar))
	if err != nil || fd < 3 {
		return
	}
	f := os.NewFile(uintptr(fd), "ready")
	_, _ = f.Write([]byte{1}) // a parent that is gone needs no answer
	f.Close()
}
