package sshaccess_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"teleport/fault"
	"teleport/lifecycle"
	"teleport/recfmt"
	"teleport/recorder"
	"teleport/recorder/recordertest"
	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

// recorded is a world whose sessions are recorded, and what takes the recordings.
func recorded(t *testing.T) (*world, *recordertest.Auth, *age.HybridIdentity) {
	t.Helper()
	return recordedIn(t, "node", func(a *recordertest.Auth) recorder.Uploader { return a })
}

func recordedIn(t *testing.T, mode string, upload func(*recordertest.Auth) recorder.Uploader) (*world, *recordertest.Auth, *age.HybridIdentity) {
	t.Helper()
	key, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	auth := recordertest.NewAuth()
	w := newWorld(t, func(w *world) {
		spool, err := recorder.NewSpool(recorder.SpoolOptions{Dir: t.TempDir(), HostID: hostUUID, Cluster: cluster, Generation: 1, Upload: upload(auth), Audit: w.log,
			Backoff: lifecycle.Backoff{Min: time.Millisecond, Max: time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			spool.Serve(ctx) //nolint:errcheck // it returns nil
		}()
		t.Cleanup(func() { cancel(); <-done; spool.Close() })
		w.cfg.Recorder, err = recorder.NewSessions(recorder.SessionsOptions{Spool: spool, Mode: func() string { return mode },
			Keys: func() ([]string, bool) { return []string{key.Recipient().String()}, true }})
		if err != nil {
			t.Fatal(err)
		}
	})
	return w, auth, key
}

// recordsOf waits until the recording of the world's only session is stored.
func recordsOf(t *testing.T, w *world, auth *recordertest.Auth, key age.Identity) []recfmt.Record {
	t.Helper()
	start, ok := w.log.wait(t, "session.start", "").(*event.SessionStart)
	if !ok || start.Recording != w.cfg.Recorder.Mode() {
		t.Fatalf("session.start %+v", start)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := auth.Wait(ctx, start.SessionID, func(_ []byte, stored bool) bool { return stored }); err != nil {
		t.Fatal("the recording is not stored")
	}
	b, _ := auth.Held(start.SessionID)
	rs, end, err := recordertest.Records(start.SessionID, b, key)
	if err != nil || end == nil || end.Reason != recfmt.EndSession {
		t.Fatalf("end %+v, %v", end, err)
	}
	return rs
}

// The recording of a shell holds the bytes that the client got, and none of what
// was typed and not shown.
func TestShellIsRecorded(t *testing.T) {
	w, auth, key := recorded(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	in, type_ := io.Pipe()
	var out bytes.Buffer
	grew := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(context.Background(), sshclient.Command{Stdin: in, Stdout: watched{&out, grew},
			Terminal: &sshclient.Terminal{Term: "xterm", Columns: 80, Rows: 24}})
	}()
	for _, line := range []string{
		"stty -echo; echo go''ne\n", "typed-secret-4711\n", "stty echo; seq 1 3000; echo en''d\n", "exit\n",
	} {
		if _, err := io.WriteString(type_, line); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "go''ne") {
			<-grew // "gone" was shown: echo is off
		}
	}
	if err := <-ended; err != nil {
		t.Logf("the shell ended with %v", err)
	}
	rs := recordsOf(t, w, auth, key)
	if got := recordertest.Output(rs); !bytes.Equal(got, out.Bytes()) || !bytes.Contains(got, []byte("2999\r\n3000\r\n")) {
		t.Errorf("%d bytes recorded, %d shown", len(got), out.Len())
	}
	for _, r := range rs {
		if bytes.Contains(r.Data, []byte("secret-4711\n")) {
			t.Errorf("what was typed is in a record %c", r.Type)
		}
	}
	if rs[0].Type != recfmt.RecordInfo || !bytes.Contains(rs[0].Data, []byte(`"columns":80`)) {
		t.Errorf("the first record: %c %.100s", rs[0].Type, rs[0].Data)
	}
}

// watched is a buffer that tells when a line is just "gone".
type watched struct {
	*bytes.Buffer
	grew chan struct{}
}

func (w watched) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if bytes.Contains(w.Bytes(), []byte("gone\r\n")) {
		select {
		case w.grew <- struct{}{}:
		default:
		}
	}
	return n, err
}

// While a synchronous session waits for the auth service, its program goes on: what
// it shows meanwhile goes with the next call. Here auth answers only when the
// program is done, and no terminal holds as much as it shows.
func TestSynchronousSessionGathers(t *testing.T) {
	done := filepath.Join(t.TempDir(), "done")
	w, auth, key := recordedIn(t, "node-sync", func(a *recordertest.Auth) recorder.Uploader { return slowAuth{a, done} })
	w.policy.roles["dev"].Spec.Options.RecordSession = &types.RecordSession{Default: "strict"} // it ends where auth does not answer in time
	_, s := w.user("alice", "root")
	var out bytes.Buffer
	if err := w.mustClient("root", s).Run(context.Background(), sshclient.Command{Line: "seq 1 20000; touch " + done, Stdout: &out,
		Terminal: &sshclient.Terminal{Term: "xterm", Columns: 80, Rows: 24}}); err != nil {
		t.Fatal(err)
	}
	rs := recordsOf(t, w, auth, key)
	if got := recordertest.Output(rs); !bytes.Equal(got, out.Bytes()) || !bytes.HasSuffix(got, []byte("19999\r\n20000\r\n")) {
		t.Errorf("%d bytes recorded, %d shown", len(got), out.Len())
	}
}

// slowAuth answers once a file is there.
type slowAuth struct {
	*recordertest.Auth
	file string
}

func (a slowAuth) AppendRecording(ctx context.Context, id string, offset uint64, data []byte) (uint64, error) {
	for ctx.Err() == nil {
		if _, err := os.Stat(a.file); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return a.Auth.AppendRecording(ctx, id, offset, data)
}

func (a slowAuth) FinishRecording(ctx context.Context, id string, offset uint64, data []byte) (held uint64, stored bool, err error) {
	held, err = a.AppendRecording(ctx, id, offset, data)
	return held, false, err
}

// A command without a terminal is recorded, its two streams apart, with its end.
func TestCommandIsRecorded(t *testing.T) {
	w, auth, key := recorded(t)
	_, s := w.user("alice", "root")
	var out, errs bytes.Buffer
	err := w.mustClient("root", s).Run(context.Background(), sshclient.Command{Line: "echo shown; echo failed >&2; exit 3", Stdout: &out, Stderr: &errs})
	if err == nil {
		t.Error("the command's status was lost")
	}
	var got, failed, events string
	for _, r := range recordsOf(t, w, auth, key) {
		switch r.Type {
		case recfmt.RecordOutput:
			got += string(r.Data)
		case recfmt.RecordErrors:
			failed += string(r.Data)
		case recfmt.RecordEvent:
			events += string(r.Data)
		}
	}
	if got != out.String() || failed != errs.String() || !strings.Contains(events, `"exec"`) || !strings.Contains(events, `"exitCode":"3"`) {
		t.Errorf("recorded %q, %q, %s", got, failed, events)
	}
}

// refusing takes nothing, and says why.
type refusing struct{ recorder.Off }

type refusingAll struct{ recorder.Recording }

func (refusingAll) Show(recorder.Stream, []byte) error {
	return fault.New(fault.Unavailable, "the session cannot be recorded: the disk is full")
}

func (r refusing) Start(ctx context.Context, i recorder.Info) (recorder.Recording, error) {
	rec, err := r.Off.Start(ctx, i)
	return refusingAll{rec}, err
}

// Who loses a session to a full disk is told so, and the log has the reason.
func TestUnrecordableSessionSaysWhy(t *testing.T) {
	w := newWorld(t, func(w *world) { w.cfg.Recorder = refusing{} })
	_, s := w.user("alice", "root")
	var errs bytes.Buffer
	err := w.mustClient("root", s).Run(context.Background(), sshclient.Command{Line: "echo never; exec sleep 1000", Stdout: io.Discard, Stderr: &errs})
	if err == nil || !strings.Contains(errs.String(), "the disk is full") {
		t.Errorf("%v, %q", err, errs.String())
	}
	if end, ok := w.log.wait(t, "session.end", "").(*event.SessionEnd); !ok || end.Reason != "recording" {
		t.Errorf("session.end %+v", end)
	}
}
