package spawn

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"teleport/fault"
)

// Account is a user of this host.
type Account struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary, the primary one included
	Home   string
	Shell  string
	Gecos  string
}

// Accounts answers who a login is: /etc/passwd and /etc/group first, then what
// the host's name service says through getent and id, remembered for a minute.
// The zero value is ready; methods are safe for concurrent use.
type Accounts struct {
	// Root is where etc is found. "" is the real one; tests give their own.
	Root string

	mu    sync.Mutex
	cache map[string]cached
}

type cached struct {
	account Account
	at      time.Time
}

const (
	cacheFor     = time.Minute
	cacheMost    = 4096
	lookupWithin = 5 * time.Second
	fileMost     = 16 << 20
)

// ValidLogin reports whether a login has a form that any part of a host may
// safely see: letters, digits and ._@- not at the front, at most 64 bytes.
func ValidLogin(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '-' || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._@-", c) >= 0
		if !ok && !(c == '$' && i == len(s)-1) {
			return false
		}
	}
	return true
}

// Lookup finds an account. It returns fault.NotFound for a login that this host
// does not have.
func (a *Accounts) Lookup(ctx context.Context, login string) (Account, error) {
	if !ValidLogin(login) {
		return Account{}, fault.New(fault.Invalid, "%q is not a login name", login)
	}
	acc, ok, err := a.fromFiles(login)
	if err != nil || ok {
		return acc, err
	}
	if a.Root != "" {
		return Account{}, notHere(login)
	}
	a.mu.Lock()
	c, hit := a.cache[login]
	a.mu.Unlock()
	if hit && time.Since(c.at) < cacheFor {
		return c.account, nil
	}
	acc, err = fromNameService(ctx, login)
	if err != nil {
		return Account{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cache == nil || len(a.cache) >= cacheMost {
		a.cache = map[string]cached{}
	}
	a.cache[login] = cached{acc, time.Now()}
	return acc, nil
}

func notHere(login string) error {
	return fault.New(fault.NotFound, "this host has no user %q", login).
		WithHint("create the user on the host, or log in as another one")
}

func (a *Accounts) fromFiles(login string) (Account, bool, error) {
	line, err := findLine(a.Root+"/etc/passwd", login)
	if err != nil || line == "" {
		return Account{}, false, err
	}
	acc, err := parsePasswd(line)
	if err != nil {
		return Account{}, false, err
	}
	acc.Groups, err = groupsOf(a.Root+"/etc/group", acc)
	return acc, err == nil, err
}

func findLine(path, name string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sc := bufio.NewScanner(io.LimitReader(f, fileMost))
	for sc.Scan() {
		if n, _, ok := strings.Cut(sc.Text(), ":"); ok && n == name {
			return sc.Text(), nil
		}
	}
	return "", sc.Err()
}

func parsePasswd(line string) (Account, error) {
	f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
	if len(f) != 7 {
		return Account{}, fmt.Errorf("passwd entry has %d fields", len(f))
	}
	uid, err := strconv.ParseUint(f[2], 10, 32)
	if err != nil {
		return Account{}, fmt.Errorf("passwd entry of %s: %w", f[0], err)
	}
	gid, err := strconv.ParseUint(f[3], 10, 32)
	if err != nil {
		return Account{}, fmt.Errorf("passwd entry of %s: %w", f[0], err)
	}
	acc := Account{Name: f[0], UID: uint32(uid), GID: uint32(gid), Gecos: f[4], Home: f[5], Shell: f[6]}
	if acc.Home == "" {
		acc.Home = "/"
	}
	if acc.Shell == "" {
		acc.Shell = "/bin/sh"
	}
	return acc, nil
}

func groupsOf(path string, acc Account) ([]uint32, error) {
	groups := []uint32{acc.GID}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sc := bufio.NewScanner(io.LimitReader(f, fileMost))
	sc.Buffer(nil, 1<<20) // a group may have many members
	for sc.Scan() {
		parts := strings.Split(sc.Text(), ":")
		if len(parts) != 4 || !slices.Contains(strings.Split(parts[3], ","), acc.Name) {
			continue
		}
		gid, err := strconv.ParseUint(parts[2], 10, 32)
		if err == nil && !slices.Contains(groups, uint32(gid)) {
			groups = append(groups, uint32(gid))
		}
	}
	return groups, sc.Err()
}

// fromNameService asks the host's tools, as a build without cgo cannot load the
// host's name service modules.
func fromNameService(ctx context.Context, login string) (Account, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupWithin)
	defer cancel()
	out, err := tool(ctx, "getent", "passwd", login)
	if err != nil {
		return Account{}, notHere(login)
	}
	acc, err := parsePasswd(out)
	if err != nil || acc.Name != login {
		return Account{}, notHere(login)
	}
	out, err = tool(ctx, "id", "-G", "--", login)
	if err != nil {
		return Account{}, fault.Wrap(err, fault.Unavailable, "cannot tell the groups of %s", login)
	}
	for _, s := range strings.Fields(out) {
		gid, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return Account{}, fault.Wrap(err, fault.Unavailable, "cannot tell the groups of %s", login)
		}
		acc.Groups = append(acc.Groups, uint32(gid))
	}
	return acc, nil
}

func tool(ctx context.Context, name string, args ...string) (string, error) {
	for _, dir := range []string{"/usr/bin/", "/bin/"} {
		if _, err := os.Stat(dir + name); err != nil {
			continue
		}
		cmd := exec.CommandContext(ctx, dir+name, args...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// TTYGroup returns the id of the group that may write to users' terminals, or
// -1 on a host without one.
func (a *Accounts) TTYGroup() int {
	line, err := findLine(a.Root+"/etc/group", "tty")
	if err != nil {
		return -1
	}
	f := strings.Split(line, ":")
	if len(f) < 3 {
		return -1
	}
	gid, err := strconv.ParseUint(f[2], 10, 31)
	if err != nil {
		return -1
	}
	return int(gid)
}
