package mysql

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/dbaccess/relay"
	"teleport/fault"
)

// payload takes one short packet off a recording.
func payload(b []byte) (payload, rest []byte) {
	n, _ := mysqlwire.Head(b)
	return b[mysqlwire.HeadSize : mysqlwire.HeadSize+n], b[mysqlwire.HeadSize+n:]
}

// Replay passes a recorded session, from its greeting on, and returns what the log
// is told of it. All that the client said comes before all that it heard, as with
// a client that waits for nothing.
func Replay(ctx context.Context, said, answered []byte) (told string, err error) {
	greeting, answered := payload(answered)
	g, err := mysqlwire.ParseGreeting(greeting)
	if err != nil {
		return "", err
	}
	first, said := payload(said)
	login, err := mysqlwire.ParseLogin(first)
	if err != nil {
		return "", err
	}
	ok, answered := payload(answered)
	if ok[0] == mysqlwire.HeadMore {
		ok, answered = payload(answered)
	}
	if _, err := mysqlwire.ParseOK(ok); err != nil {
		return "", err
	}
	m := &memory{}
	e := emitter{ctx, m}
	talk := &conversation{prepared: map[uint32]uint16{}}
	var up, down bytes.Buffer
	err = relay.Copy(&up, bytes.NewReader(said), &frontend{emitter: e, talk: talk})
	switch {
	case errors.Is(err, fault.Unimplemented): // by the client's last words
	case err != nil:
		return "", err
	case !bytes.Equal(up.Bytes(), said):
		return "", errors.New("the server did not hear all of it")
	}
	deprecate := g.Capabilities&login.Capabilities&mysqlwire.DeprecateEOF != 0
	if err := relay.Copy(&down, bytes.NewReader(answered), &backend{emitter: e, talk: talk, deprecate: deprecate}); err != nil {
		return "", err
	}
	if !bytes.Equal(down.Bytes(), answered) || len(talk.waiting) > 0 {
		return "", errors.New("the client did not hear all of it")
	}
	return login.User + " in " + login.Database + " by " + login.Plugin + "\n" + strings.Join(m.told(), "\n") + "\n", nil
}

// recorded gives fuzz targets what one side really said, after the login.
func recorded(f *testing.F, side string, skip int) (all [][]byte) {
	f.Helper()
	names, err := filepath.Glob("testdata/recorded/*." + side)
	if err != nil || len(names) == 0 {
		f.Fatalf("nothing is recorded of the %s: %v", side, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for range skip {
			_, b = payload(b)
		}
		all = append(all, b)
	}
	return all
}
