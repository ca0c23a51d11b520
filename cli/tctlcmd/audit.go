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
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"teleport/api/authclient"
	"teleport/api/gen/auditv1"
	"teleport/audit/chain"
	"teleport/cli/output"
	"teleport/fault"
)

func (a *app) auditCmd() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Search, export and verify the audit log"}
	c.AddCommand(a.auditLs("ls", "List events", ""), a.auditLs("search TEXT", "List events that contain a text", "  tctl audit search alice --last=24h"),
		a.auditExport(), a.auditVerify(), a.auditKeys())
	return c
}

type auditFlags struct {
	from, to, last string
	types          []string
	sid, user      string
	limit          int
	ascending      bool
}

func (a *app) auditLs(use, short, example string) *cobra.Command {
	var f auditFlags
	format := output.Text
	args := cobra.NoArgs
	if strings.Contains(use, " ") {
		args = cobra.ExactArgs(1)
	}
	c := a.verb(use, short, example, args, func(ctx context.Context, api *authclient.Client, args []string) error {
		req, err := f.request(time.Now())
		if err != nil {
			return err
		}
		if len(args) > 0 {
			req.Text = args[0]
		}
		events, err := searchAll(ctx, api, req, f.limit)
		if err != nil {
			return err
		}
		return a.printEvents(format, events)
	})
	fl := c.Flags()
	fl.StringVar(&f.from, "from-utc", "", "from this time: 2026-01-31 or 2026-01-31T12:00:00Z")
	fl.StringVar(&f.to, "to-utc", "", "to this time")
	fl.StringVar(&f.last, "last", "", "the last 30m, 24h …")
	fl.StringSliceVar(&f.types, "type", nil, "event types: user.login,session.start")
	fl.StringVar(&f.sid, "session", "", "events of one session")
	fl.StringVar(&f.user, "user", "", "events of one user")
	fl.IntVar(&f.limit, "limit", 100, "at most this many")
	fl.BoolVar(&f.ascending, "ascending", false, "oldest first")
	fl.VarP(&format, "format", "f", "text, json or yaml")
	return c
}

func (f auditFlags) request(now time.Time) (*auditv1.SearchRequest, error) {
	from, err := output.ParseTime(f.from)
	if err != nil {
		return nil, err
	}
	to, err := output.ParseTime(f.to)
	if err != nil {
		return nil, err
	}
	if f.last != "" {
		d, err := time.ParseDuration(f.last)
		if err != nil {
			return nil, fault.New(fault.Invalid, "--last %q is not a duration like 30m or 24h", f.last)
		}
		from = now.Add(-d)
	}
	if f.limit < 1 {
		return nil, fault.New(fault.Invalid, "--limit must be at least 1")
	}
	return &auditv1.SearchRequest{FromUnixNano: output.UnixNano(from), ToUnixNano: output.UnixNano(to), Types: f.types, SessionId: f.sid, User: f.user, Ascending: f.ascending}, nil
}

func searchAll(ctx context.Context, api *authclient.Client, req *auditv1.SearchRequest, limit int) ([]json.RawMessage, error) {
	events := []json.RawMessage{}
	for {
		req.Limit = int32(min(limit-len(events), 1000))
		resp, err := api.SearchEvents(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, e := range resp.Events {
			events = append(events, e)
		}
		if resp.NextPageToken == "" || len(events) >= limit {
			return events, nil
		}
		req.PageToken = resp.NextPageToken
	}
}

func (a *app) printEvents(f output.Format, events []json.RawMessage) error {
	if f != output.Text {
		return output.Write(a.Out, f, events)
	}
	t := output.NewTable("Time (UTC)", "Code", "Event", "User", "What")
	for _, raw := range events {
		var e map[string]any
		if err := json.Unmarshal(raw, &e); err != nil {
			return fault.Wrap(err, fault.Invalid, "the auth service sent an event that cannot be read")
		}
		at, _ := time.Parse(time.RFC3339Nano, text(e, "time"))
		t.Row(at.UTC().Format(time.DateTime), text(e, "code"), text(e, "event"), text(e, "user"), summary(e))
	}
	return t.Write(a.Out, a.width())
}

func text(e map[string]any, key string) string {
	v, ok := e[key]
	if !ok || v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// summary is the few fields by which people recognise an event.
func summary(e map[string]any) string {
	var parts []string
	for _, key := range []string{"name", "login", "server_hostname", "command", "exitCode", "path", "addr.remote", "method", "node_name", "cert_type", "error", "message"} {
		if v := text(e, key); v != "" {
			parts = append(parts, key+"="+v)
		}
	}
	return strings.Join(parts, " ")
}

func (a *app) auditExport() *cobra.Command {
	var from, to, out string
	c := a.verb("export", "Write events with all that verification needs", "  tctl audit export -o audit.jsonl", cobra.NoArgs, func(ctx context.Context, api *authclient.Client, _ []string) error {
		req, err := exportRequest(from, to)
		if err != nil {
			return err
		}
		if out == "" {
			return api.ExportAudit(ctx, req, a.Out)
		}
		f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return fault.Unwritable(err, out)
		}
		err = errors.Join(api.ExportAudit(ctx, req, f), f.Close())
		if err != nil {
			return errors.Join(err, os.Remove(out))
		}
		return nil
	})
	c.Flags().StringVar(&from, "from-utc", "", "from this time of receipt")
	c.Flags().StringVar(&to, "to-utc", "", "to this time of receipt")
	c.Flags().StringVarP(&out, "out", "o", "", "write to this file")
	return c
}

func exportRequest(from, to string) (*auditv1.ExportRequest, error) {
	f, err := output.ParseTime(from)
	if err != nil {
		return nil, err
	}
	t, err := output.ParseTime(to)
	return &auditv1.ExportRequest{FromUnixNano: output.UnixNano(f), ToUnixNano: output.UnixNano(t)}, err
}

// auditKeys prints the public keys that sign the log, to be kept with whoever
// verifies exports.
func (a *app) auditKeys() *cobra.Command {
	return a.verb("keys", "Print the public keys that sign the audit log (PEM)", "  tctl audit keys > audit-keys.pem", cobra.NoArgs,
		func(ctx context.Context, api *authclient.Client, _ []string) error {
			list, err := a.logKeys(ctx, api)
			if err != nil {
				return err
			}
			for _, k := range list {
				der, err := x509.MarshalPKIXPublicKey(k)
				if err != nil {
					return err
				}
				if err := pem.Encode(a.Out, &pem.Block{Type: "PUBLIC KEY", Bytes: der}); err != nil {
					return err
				}
			}
			return nil
		})
}

// logKeys asks the auth service, over its verified connection, for its keys: they
// stand in the first line of an export.
func (a *app) logKeys(ctx context.Context, api *authclient.Client) ([]ed25519.PublicKey, error) {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := api.ExportAudit(ctx, &auditv1.ExportRequest{FromUnixNano: time.Now().UnixNano()}, w)
		w.CloseWithError(err)
		done <- err
	}()
	line, err := bufio.NewReader(io.LimitReader(r, 1<<20)).ReadBytes('\n')
	r.CloseWithError(io.ErrClosedPipe)
	cancel()
	exportErr := <-done
	if err != nil {
		return nil, errors.Join(exportErr, err)
	}
	var first struct {
		Header *chain.Header `json:"teleport_audit_export"`
	}
	if err := json.Unmarshal(line, &first); err != nil || first.Header == nil {
		return nil, fault.New(fault.Invalid, "the auth service's export does not begin as one")
	}
	return first.Header.Keys, nil
}

func sshFingerprint(k ssh.PublicKey) string { return ssh.FingerprintSHA256(k) }
