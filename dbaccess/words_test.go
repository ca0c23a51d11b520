package dbaccess

import "testing"

func TestWithoutAddresses(t *testing.T) {
	for said, want := range map[string]string{
		`no pg_hba.conf entry for host "10.0.0.5", user "alice", database "orders"`: `no pg_hba.conf entry for host "(address)", user "alice", database "orders"`,
		"no entry for host «fd00::1:2»":                                             "no entry for host «(address)»",
		"it came from 192.0.2.7.":                                                   "it came from (address).",
		"it came from 192.0.2.7:5432: no":                                           "it came from (address): no",
		"from ::1 or ::":                                                            "from (address) or (address)",
		`database "cafe" does not exist`:                                            `database "cafe" does not exist`,
		"since 12:30:00, of version 10.11":                                          "since 12:30:00, of version 10.11",
		"role \"a.b:c\"; see x...":                                                  "role \"a.b:c\"; see x...",
	} {
		if got := WithoutAddresses(said); got != want {
			t.Errorf("%q became %q", said, got)
		}
	}
}
