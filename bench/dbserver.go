package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// enroll signs a certificate of the cluster for a database server in dir, and gives
// dir and the files to the account of this machine that the server runs as. Their
// common path is returned. The server takes the certificates of the cluster, and of
// more.
func (b *bench) enroll(dir, account, debian string, more ...string) (cert string, err error) {
	u, err := user.Lookup(account)
	if err != nil {
		return "", fmt.Errorf("there is no such server (Debian's package %s): %w", debian, err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	cert = filepath.Join(dir, "server")
	if _, err := b.cl.tctl("auth", "sign", "--format=db", "--host=127.0.0.1,localhost", "--out="+cert); err != nil {
		return "", err
	}
	cas, err := os.ReadFile(cert + ".cas")
	if err != nil {
		return "", err
	}
	for _, path := range more {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		cas = append(cas, text...)
	}
	if err := os.WriteFile(cert+".cas", cas, 0o644); err != nil {
		return "", err
	}
	for _, name := range []string{dir, cert + ".key", cert + ".crt", cert + ".cas"} {
		if err := os.Chown(name, uid, gid); err != nil {
			return "", err
		}
	}
	return cert, nil
}
