package cluster

import (
	"os/user"
	"strconv"
	"syscall"
	"testing"
)

// SystemUser is the account that a server of Debian's runs as, which its package
// makes.
func SystemUser(t testing.TB, name, pkg string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("this test needs the user that the package %s makes: %v", pkg, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
