package tctlcmd

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/api/gen/auditv1"
	"teleport/audit/chain"
	"teleport/audit/recproof"
	"teleport/cli/output"
	"teleport/fault"
	"teleport/wholefile"
)

// verifyFlags say what is verified, and with what.
type verifyFlags struct {
	export, keys, checkpoint string
	recordings               string
	logOnly                  bool
}

// verifyReport is what a verification saw of the log, and of the recordings that
// the log says are stored; nil where they were not looked at.
type verifyReport struct {
	chain.Report
	Recordings *recproof.Report `json:"recordings,omitempty"`
}

const verifyLong = `Verifies that no event was changed, removed, added or moved, and that every recording that the log says
was stored is there, byte for byte. No key of the recordings is needed.

Without --export the log of the cluster is read and verified, and each recording is fetched from its storage,
or read from --recordings. With --export and --keys an exported file is verified offline, with public keys only;
--recordings names a directory with the recordings to it.

--checkpoint names a file that holds the last verified checkpoint. It is compared, so that a log whose end was
cut off shows, and replaced after a successful verification.`

func (a *app) auditVerify() *cobra.Command {
	var f verifyFlags
	var show func(any, func() error) error
	c := &cobra.Command{Use: "verify", Short: "Verify the audit log and the recordings, or an export of them", Args: cobra.NoArgs, Long: verifyLong,
		Example: "  tctl audit verify --checkpoint=audit.checkpoint\n  tctl audit verify --export=audit.jsonl --keys=audit-keys.pem --recordings=records",
		RunE: func(c *cobra.Command, _ []string) error {
			report, err := a.verify(c.Context(), f)
			if report.Cluster == "" && err != nil {
				return err
			}
			if showErr := show(report, func() error { return a.printReport(report) }); showErr != nil {
				return showErr
			}
			if err != nil {
				return err
			}
			return saveCheckpoint(f.checkpoint, report.Last)
		}}
	fl := c.Flags()
	fl.StringVar(&f.export, "export", "", "verify this file instead of the cluster's log")
	fl.StringVar(&f.keys, "keys", "", "public keys that may sign, PEM (tctl audit keys)")
	fl.StringVar(&f.checkpoint, "checkpoint", "", "file with the last verified checkpoint")
	fl.StringVar(&f.recordings, "recordings", "", "directory with the recordings, SID.rec, instead of the cluster's storage")
	fl.BoolVar(&f.logOnly, "log-only", false, "leave the recordings out")
	show = a.formatFlag(fl)
	return c
}

func (a *app) verify(ctx context.Context, f verifyFlags) (verifyReport, error) {
	if f.logOnly && f.recordings != "" {
		return verifyReport{}, fault.New(fault.Invalid, "--log-only and --recordings exclude each other")
	}
	saved, err := loadCheckpoint(f.checkpoint)
	if err != nil {
		return verifyReport{}, err
	}
	ledger := recproof.NewLedger()
	if f.export != "" {
		log, err := verifyExport(f, saved, ledger)
		if f.recordings == "" || log.Cluster == "" {
			return verifyReport{Report: log}, err
		}
		return proveRecordings(ctx, verifyReport{Report: log}, err, ledger, f.recordings, nil)
	}
	api, err := a.connect(ctx)
	if err != nil {
		return verifyReport{}, err
	}
	defer api.Close()
	log, err := a.verifyCluster(ctx, api, f, saved, ledger)
	if f.logOnly || log.Cluster == "" {
		return verifyReport{Report: log}, err
	}
	return proveRecordings(ctx, verifyReport{Report: log}, err, ledger, f.recordings, api)
}

// proveRecordings adds what is found of the recordings to a report on the log.
// logErr, the log's own, comes first.
func proveRecordings(ctx context.Context, r verifyReport, logErr error, l *recproof.Ledger, dir string, api *authclient.Client) (verifyReport, error) {
	open := func(ctx context.Context, id string) (io.ReadCloser, error) { return fetched(ctx, api, id), nil }
	if dir != "" {
		var err error
		if open, err = recproof.Directory(dir); err != nil {
			return verifyReport{}, err
		}
	}
	found, err := l.Prove(ctx, time.Now(), open)
	r.Recordings = &found
	if logErr != nil {
		err = logErr
	}
	return r, err
}

// fetched is a recording as its storage has it.
func fetched(ctx context.Context, api *authclient.Client, id string) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(api.FetchRecording(ctx, id, 0, func(b []byte) error {
			_, err := w.Write(b)
			return err
		}))
	}()
	return &download{PipeReader: r, end: func() {
		cancel()
		r.CloseWithError(io.ErrClosedPipe)
		<-done
	}}
}

// download ends its goroutine when it is closed.
type download struct {
	*io.PipeReader
	end func()
}

func (d *download) Close() error {
	d.end()
	return nil
}

func verifyExport(f verifyFlags, saved *chain.Signed, l *recproof.Ledger) (chain.Report, error) {
	if f.keys == "" {
		return chain.Report{}, fault.New(fault.Invalid, "an export is verified with keys that came another way").
			WithHint("Add --keys=FILE; tctl audit keys prints them.")
	}
	list, err := readKeys(f.keys)
	if err != nil {
		return chain.Report{}, err
	}
	in, err := os.Open(f.export)
	if err != nil {
		return chain.Report{}, fault.Wrap(err, fault.NotFound, "cannot read %s: %v", f.export, errors.Unwrap(err))
	}
	defer in.Close()
	return chain.VerifyEach(bufio.NewReaderSize(in, 1<<20), list, saved, l.Event)
}

func (a *app) verifyCluster(ctx context.Context, api *authclient.Client, f verifyFlags, saved *chain.Signed, l *recproof.Ledger) (chain.Report, error) {
	var list []ed25519.PublicKey
	var err error
	if f.keys != "" {
		list, err = readKeys(f.keys)
	} else {
		list, err = a.logKeys(ctx, api)
	}
	if err != nil {
		return chain.Report{}, err
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(api.ExportAudit(ctx, &auditv1.ExportRequest{}, w))
	}()
	report, err := chain.VerifyEach(r, list, saved, l.Event)
	r.CloseWithError(io.ErrClosedPipe)
	<-done
	return report, err
}

func readKeys(path string) ([]ed25519.PublicKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(err, fault.NotFound, "cannot read %s: %v", path, errors.Unwrap(err))
	}
	var list []ed25519.PublicKey
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		k, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "%s holds a key that cannot be read", path)
		}
		e, ok := k.(ed25519.PublicKey)
		if !ok {
			return nil, fault.New(fault.Invalid, "%s holds a key that is not Ed25519", path)
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		return nil, fault.New(fault.Invalid, "%s holds no public key", path)
	}
	return list, nil
}

func loadCheckpoint(path string) (*chain.Signed, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no checkpoint was named
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // the first verification saves one
	}
	if err != nil {
		return nil, fault.Unreadable(err, path)
	}
	s := &chain.Signed{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fault.New(fault.Invalid, "%s holds no checkpoint", path)
	}
	return s, nil
}

func saveCheckpoint(path string, last *chain.Signed) error {
	if path == "" || last == nil {
		return nil
	}
	b, err := json.Marshal(last)
	if err != nil {
		return err
	}
	return fault.Unwritable(wholefile.Write(path, append(b, '\n'), 0o644), path)
}

func (a *app) printReport(r verifyReport) error {
	verdict := "The log verifies."
	if r.Count > 0 {
		verdict = "THE LOG DOES NOT VERIFY."
	}
	fmt.Fprintf(a.Out, "%s\n\nCluster      %s\nEvents       %d\nRedacted     %d\nWriters      %d\nBlocks       %d to %d\nCheckpoints  %d\n",
		verdict, r.Cluster, r.Events, r.Redacted, r.Writers, r.FromBlock, r.ToBlock, r.Checkpoints)
	if !r.LastTime.IsZero() {
		fmt.Fprintf(a.Out, "Signed until %s\n", r.LastTime.UTC().Format(time.RFC3339))
	}
	for _, p := range r.Problems {
		where := ""
		if p.Block > 0 {
			where = fmt.Sprintf(" in block %d", p.Block)
		}
		fmt.Fprintf(a.Out, "  problem: %s%s: %s\n", output.Clean(p.Kind), where, output.Clean(p.Text))
	}
	if more := r.Count - len(r.Problems); more > 0 {
		fmt.Fprintf(a.Out, "  and %d more problems\n", more)
	}
	if r.Recordings != nil {
		a.printRecordings(*r.Recordings)
	}
	return nil
}

func (a *app) printRecordings(r recproof.Report) {
	verdict := "The recordings verify."
	if r.Count > 0 {
		verdict = "THE RECORDINGS DO NOT VERIFY."
	}
	fmt.Fprintf(a.Out, "\n%s\n\nRecordings   %d\nBytes        %d\n", verdict, r.Recordings, r.Bytes)
	for _, p := range r.Problems {
		fmt.Fprintf(a.Out, "  problem: session %s: %s\n", output.Clean(p.SessionID), output.Clean(p.Text))
	}
	if more := r.Count - len(r.Problems); more > 0 {
		fmt.Fprintf(a.Out, "  and %d more problems\n", more)
	}
	for _, n := range r.NotStored {
		fmt.Fprintf(a.Out, "  note: session %s was to be recorded, and no recording of it was stored (host %s, %s)\n",
			output.Clean(n.SessionID), output.Clean(n.HostID), n.Time.UTC().Format(time.RFC3339))
	}
	if more := r.Late - len(r.NotStored); more > 0 {
		fmt.Fprintf(a.Out, "  and %d more notes\n", more)
	}
}
