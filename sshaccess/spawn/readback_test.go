package spawn

import "testing"

// TestReadback: a process with any id or group that differs is not let go.
func TestReadback(t *testing.T) {
	a := Account{UID: 1000, GID: 1000, Groups: []uint32{1000, 4}}
	for status, ok := range map[string]bool{
		"Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t4 1000 \n":       true,
		"Uid:\t1000\t0\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t4 1000 \n":          false,
		"Uid:\t1000\t1000\t0\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t4 1000 \n":          false,
		"Uid:\t1000\t1000\t1000\t1000\nGid:\t0\t1000\t1000\t1000\nGroups:\t4 1000 \n":          false,
		"Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t0 4 1000 \n":     false,
		"Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t1000 \n":         false,
		"Uid:\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t4 1000 \n":                   false,
		"Gid:\t1000\t1000\t1000\t1000\nGroups:\t4 1000 \n":                                     false,
		"Uid:\t1000\t1000\t1000\t99999999999\nGid:\t1000\t1000\t1000\t1000\nGroups:\t4 1000\n": false,
	} {
		c, err := parseStatus([]byte(status))
		if err == nil {
			err = c.matches(a)
		}
		if (err == nil) != ok {
			t.Errorf("%q: %v", status, err)
		}
	}
}

func FuzzPasswd(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash")
	f.Fuzz(func(t *testing.T, line string) {
		if acc, err := parsePasswd(line); err == nil && (acc.Home == "" || acc.Shell == "") {
			t.Errorf("%+v", acc)
		}
	})
}
