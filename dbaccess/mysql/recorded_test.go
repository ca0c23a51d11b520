package mysql_test

import (
	"bytes"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"teleport/dbaccess/mysql"
	"teleport/test/cluster"
	"teleport/types/event"
)

var update = flag.Bool("update", false, "record what real programs and a real server say")

// programs are recorded: what they do touches each kind of answer.
var programs = map[string][]string{
	"mariadb":      {"mariadb", "--no-defaults", "--skip-ssl", "--protocol=TCP", "--force", "--auto-rehash", "-e", "select name from t where id < 4; call twice(); use attic; select database(); select nothing"},
	"mariadb-dump": {"mariadb-dump", "--no-defaults", "--skip-ssl", "--protocol=TCP", "--where=id<4", "shop", "t"},
	"mysql2":       {"node", "ask.mjs"},
}

// TestRecordedPrograms plays what real programs and a real server said, and finds
// the log that they had then. -update records them anew.
func TestRecordedPrograms(t *testing.T) {
	if *update {
		record(t)
	}
	for name := range programs {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "recorded", name)
			said, err := os.ReadFile(path + ".client")
			if err != nil {
				t.Fatal(err)
			}
			answered, err := os.ReadFile(path + ".server")
			if err != nil {
				t.Fatal(err)
			}
			told, err := mysql.Replay(t.Context(), said, answered)
			if err != nil {
				t.Error(err)
			}
			if *update {
				if err := os.WriteFile(path+".told", []byte(told), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path + ".told")
			if err != nil || told != string(want) {
				t.Errorf("%v: told\n%s\nwant\n%s", err, told, want)
			}
		})
	}
}

// record runs the programs, with an ear on the way between them and the agent.
func record(t *testing.T) {
	w, addr := world(t)
	for name, argv := range programs {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var ear sync.WaitGroup
		ear.Go(func() { listenIn(t, ln, addr.String(), filepath.Join("testdata", "recorded", name)) })
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		c := exec.Command(argv[0])
		c.Args = append(c.Args, argv[1:]...)
		if name == "mysql2" {
			c.Dir, c.Args = cluster.NPM(t, "testdata/mysql2"), append(c.Args, port, "alice")
		} else {
			c.Args = append([]string{argv[0], argv[1], argv[2], argv[3], "-h127.0.0.1", "-P" + port, "-ualice"}, argv[4:]...)
			if name == "mariadb" {
				c.Args = append(c.Args, "shop")
			}
		}
		out, err := c.CombinedOutput()
		t.Logf("%s: %v %.300s", name, err, out)
		ear.Wait()
		ln.Close()
	}
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) == len(programs) })
}

// listenIn carries one connection, and writes down what both sides said.
func listenIn(t *testing.T, ln net.Listener, to, path string) {
	near, err := ln.Accept()
	if err != nil {
		t.Error(err)
		return
	}
	defer near.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		t.Error(err)
		return
	}
	defer far.Close()
	var said, answered bytes.Buffer
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(io.MultiWriter(near, &answered), far)
		near.Close()
	})
	_, _ = io.Copy(io.MultiWriter(far, &said), near)
	far.Close()
	back.Wait()
	for name, b := range map[string][]byte{path + ".client": said.Bytes(), path + ".server": answered.Bytes()} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Error(err)
		}
	}
}
