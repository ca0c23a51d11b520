package cluster

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// accountLimit bounds the wait for the files of accounts, and for the end of what
// runs as one.
const accountLimit = 60 * time.Second

// OSUser is an ordinary account of this machine, made for one test.
type OSUser struct {
	Name, Home, Shell string
	UID, GID          int
}

// OSUser makes an account with that login shell, in more groups where some are
// named. The test's end removes it with its home.
func (c *Cluster) OSUser(t testing.TB, shell string, groups ...string) *OSUser {
	t.Helper()
	name := "tt" + strings.ReplaceAll(unique(), "x", "-")
	args := []string{"-m", "-d", filepath.Join("/home", name), "-s", shell, "-U"}
	if len(groups) > 0 {
		args = append(args, "-G", strings.Join(groups, ","))
	}
	accounts(t, "useradd", append(args, name)...)
	t.Cleanup(func() { removeUser(t, name) })
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if uidErr != nil || gidErr != nil {
		t.Fatalf("%+v", u)
	}
	return &OSUser{Name: name, Home: u.HomeDir, Shell: shell, UID: uid, GID: gid}
}

// accounts runs a tool of the passwd package, whose lock others may hold.
func accounts(t testing.TB, tool string, args ...string) {
	t.Helper()
	path := Need(t, tool, "passwd")
	var r Result
	if !Poll(accountLimit, func() bool {
		r = Run(Command{Path: path, Args: args, Env: baseEnv()})
		return r.Code == 0 || !strings.Contains(r.Stderr, "try again later")
	}) || r.Code != 0 {
		t.Fatal(r)
	}
}

// removeUser ends what still runs under the account, again where something begins
// meanwhile: an account in use is not removed.
func removeUser(t testing.TB, name string) {
	u, err := user.Lookup(name)
	if err != nil {
		t.Error(err)
		return
	}
	path := Need(t, "userdel", "passwd")
	var r Result
	if !Poll(accountLimit, func() bool {
		if killAll(u.Uid) > 0 {
			return false
		}
		r = Run(Command{Path: path, Args: []string{"-r", name}, Env: baseEnv()})
		return r.Code == 0
	}) {
		t.Error(r)
	}
}

// killAll kills the processes of an account, and tells how many there were.
func killAll(uid string) (n int) {
	for _, s := range allProcesses() {
		info, err := os.Stat(fmt.Sprintf("/proc/%d", s.pid))
		if err != nil || s.state == "Z" {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && strconv.Itoa(int(st.Uid)) == uid {
			_ = syscall.Kill(s.pid, syscall.SIGKILL) // gone meanwhile is as good
			n++
		}
	}
	return n
}
