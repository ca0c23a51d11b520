package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"teleport/api/authclient"
	"teleport/api/gen/recordingv1"
	"teleport/cert/tlscert"
	"teleport/recfmt"
	"teleport/screen"
	"teleport/types"
)

// The recording in which seeking is measured: an hour at a terminal on which a
// screenful of source is shown ten times a second.
const (
	hour        = time.Hour
	betweenText = 100 * time.Millisecond
	textBytes   = 1400
	lastWord    = "ultimatewordofthisrecording"
	columns     = 120
	rows        = 40
)

// measureSeek hands a recording of an hour to the auth service as an agent does,
// and asks for screens at moments in it as tsh play does.
func (b *bench) measureSeek(ctx context.Context) error {
	file, err := b.hourOfText(ctx)
	if err != nil {
		return err
	}
	id, size, err := b.uploadRecording(ctx, file)
	if err != nil {
		return err
	}
	c, err := b.client()
	if err != nil {
		return err
	}
	api, err := c.API()
	if err != nil {
		return err
	}
	defer api.Close()
	ready, err := indexed(ctx, api, id)
	if err != nil {
		return err
	}
	var times []float64
	for n := range b.seeks + 1 { // the first one connects
		to := time.Duration(rand.Int64N(int64(hour)))
		begun := time.Now()
		painted, err := seek(ctx, api, id, to)
		took := time.Since(begun)
		if err != nil {
			return fmt.Errorf("to %s: %w", to, err)
		}
		if !bytes.Equal(painted, screenAt(file, to)) {
			return fmt.Errorf("to %s: the screen is not that of this moment", to)
		}
		if n > 0 {
			times = append(times, millis(took))
		}
	}
	s := b.table.section(fmt.Sprintf("Seek in a recording of an hour (%.0f MB shown, %.0f MB stored), %d times to a moment at random", float64(len(file))/1e6, float64(size)/1e6, len(times)),
		"what", "p50 ms", "p99 ms", "worst ms", "to reach")
	s.row("from asking, through the proxy, to the screen of that moment", fmt.Sprintf("%.0f", median(times)), fmt.Sprintf("%.0f", percentile(times, 0.99)),
		fmt.Sprintf("%.0f", percentile(times, 1)), "≤ 200 ms")
	s.note("Its text could be found %.0f s after it was stored.", ready.Seconds())
	return nil
}

// hourOfText is what the hour shows.
func (b *bench) hourOfText(ctx context.Context) ([]byte, error) {
	path := filepath.Join(b.dir, "hour")
	if err := b.goSource(ctx, path, int64(hour/betweenText)*textBytes); err != nil {
		return nil, err
	}
	defer os.Remove(path)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return append(bytes.ReplaceAll(text[:int(hour/betweenText)*textBytes], []byte("\n"), []byte("\r\n")), "\r\n"+lastWord+"\r\n"...), nil
}

// uploadRecording joins as one more agent and gives auth the recording of a
// session of the user.
func (b *bench) uploadRecording(ctx context.Context, text []byte) (id string, size int, err error) {
	token, err := b.cl.token("node", "10m")
	if err != nil {
		return "", 0, err
	}
	a, err := simulation{Dir: filepath.Join(b.dir, "recorder"), Proxy: b.cl.proxy, Auth: b.cl.auth, Pin: b.cl.pin, Token: types.NewSecret(token)}.join(ctx, 0)
	if err != nil {
		return "", 0, err
	}
	to, err := b.cl.recordingKeys()
	if err != nil {
		return "", 0, err
	}
	host := a.m.Identity()
	id = uuid.NewString()
	recording, err := record(recfmt.Info{SessionID: id, Kind: "ssh", Cluster: host.Cluster, User: userName, Login: b.login, HostID: host.Name,
		Hostname: "recorder", Start: time.Now().Add(-hour), Columns: columns, Rows: rows, Term: "xterm"}, to, text)
	if err != nil {
		return "", 0, err
	}
	config, err := tlscert.ClientConfig(a.m.Source(), tlscert.Server{Cluster: host.Cluster, Role: types.RoleAuth}, "h2")
	if err != nil {
		return "", 0, err
	}
	api, err := authclient.New(authclient.Config{TLS: config, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", b.cl.auth)
	}})
	if err != nil {
		return "", 0, err
	}
	defer api.Close()
	const piece = 1 << 20
	for at := 0; at < len(recording); at += piece {
		if _, err := api.AppendRecording(ctx, id, uint64(at), recording[at:min(at+piece, len(recording))]); err != nil {
			return "", 0, err
		}
	}
	return id, len(recording), api.CompleteRecording(ctx, id, uint64(len(recording)))
}

// record makes the recording of a session that shows the text evenly over an hour.
func record(info recfmt.Info, to []age.Recipient, text []byte) ([]byte, error) {
	e, out, err := recfmt.NewEncoder(recfmt.EncoderOptions{Recipients: to,
		Segment: recfmt.Segment{SessionID: info.SessionID, Kind: info.Kind, Cluster: info.Cluster, HostID: info.HostID, Generation: 1, Start: info.Start}})
	if err != nil {
		return nil, err
	}
	head, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	err = e.Add(recfmt.Record{Type: recfmt.RecordInfo, Data: head})
	steps := int(hour / betweenText)
	for i := range steps {
		from, end := len(text)*i/steps, len(text)*(i+1)/steps
		err = errors.Join(err, e.Add(recfmt.Record{Type: recfmt.RecordOutput, At: time.Duration(i) * betweenText, Data: text[from:end]}))
		if e.Pending() >= recfmt.ChunkSize {
			out = e.Chunk(out)
		}
	}
	return e.Finish(out, recfmt.EndSession), err
}

// indexed waits until the auth service has gone through the recording, so that the
// last word of it is found.
func indexed(ctx context.Context, api *authclient.Client, id string) (time.Duration, error) {
	const within = 2 * time.Minute
	begun := time.Now()
	for time.Since(begun) < within {
		found := false
		if err := api.SearchRecordings(ctx, &recordingv1.SearchRequest{Text: lastWord, Limit: 10}, func(r *recordingv1.SearchResponse) error {
			found = found || r.GetRecording().GetSessionId() == id
			return nil
		}); err != nil {
			return 0, err
		}
		if found {
			return time.Since(begun), nil
		}
		if err := rest(ctx, 200*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("what the recording shows is not found within %s", within)
}

var errThere = errors.New("the moment is reached")

// seek asks for the recording from a moment on, and stops where all that was shown
// until then is on a screen, and is painted.
func seek(ctx context.Context, api *authclient.Client, id string, to time.Duration) (painted []byte, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sc := screen.New(columns, rows)
	err = api.PlayRecording(ctx, &recordingv1.PlayRequest{SessionId: id, FromNano: int64(to)}, func(m *recordingv1.PlayResponse) error {
		for _, r := range m.Records {
			if time.Duration(r.AtNano) > to {
				return errThere
			}
			if recfmt.RecordType(r.Type) == recfmt.RecordOutput {
				sc.Write(r.Data) //nolint:errcheck // it never fails
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errThere) {
		return nil, err
	}
	return sc.AppendRepaint(nil), nil
}

// screenAt is what a moment's screen has to be: some screenfuls of text before it
// are enough for that, as it has neither colours nor movements.
func screenAt(text []byte, at time.Duration) []byte {
	steps := int(hour / betweenText)
	end := len(text) * (int(at/betweenText) + 1) / steps
	last := text[:end]
	if from := end - 20*columns*rows; from > 0 {
		last = last[from:]
		last = last[bytes.IndexByte(last, '\n')+1:]
	}
	sc := screen.New(columns, rows)
	sc.Write(last) //nolint:errcheck // it never fails
	return sc.AppendRepaint(nil)
}

// recordingKeys are the keys that recordings of the cluster are encrypted to.
func (c *cluster) recordingKeys() ([]age.Recipient, error) {
	out, err := c.tctl("get", types.KindRecordingConfig, "-f", "json")
	if err != nil {
		return nil, err
	}
	var config []types.RecordingConfig
	if err := json.Unmarshal([]byte(out), &config); err != nil || len(config) != 1 {
		return nil, fmt.Errorf("the cluster does not say how it records: %w", err)
	}
	var keys []age.Recipient
	for _, k := range config[0].Status.EncryptionKeys {
		r, err := age.ParseHybridRecipient(k.PublicKey)
		if err != nil {
			return nil, err
		}
		keys = append(keys, r)
	}
	return keys, nil
}
