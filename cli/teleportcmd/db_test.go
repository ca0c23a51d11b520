package teleportcmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ran runs the command, and returns its code and what it wrote.
func ran(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e strings.Builder
	code = Run(t.Context(), args, Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

// TestDBConfigureCreate: what it writes is taken by teleport configure --test, and
// a file that is there stays.
func TestDBConfigureCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "teleport.yaml")
	args := []string{"db", "configure", "create", "--proxy=proxy.example.com:443", "--token=secret", "--ca-pin=sha256:" + strings.Repeat("ab", 32), "--nodename=db-1",
		"--name=orders", "--description=Orders: all", "--protocol=postgres", "--uri=db.example.com:5432", "--labels=env=prod,team=a b", "--aws-region=eu-central-1",
		"--dynamic-resources-labels=team=shop", "--dynamic-resources-labels=env=test,x=y"}
	code, out, errs := ran(t, args...)
	want := `db_service:
  enabled: "yes"
  databases:
  - name: orders
    description: "Orders: all"
    protocol: postgres
    uri: db.example.com:5432
    aws:
      region: eu-central-1
    static_labels:
      env: prod
      team: a b
  resources:
  - labels:
      team: shop
  - labels:
      env: test
      x: "y"
`
	if code != 0 || errs != "" || !strings.HasSuffix(out, want) {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	if code, out, errs = ran(t, append(args, "-o", path)...); code != 0 || !strings.Contains(out, "teleport start -c "+path) {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code, out, errs = ran(t, "configure", "--test="+path); code != 0 || !strings.Contains(out, "is good") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code, _, errs = ran(t, append(args, "-o", path)...); code != 2 && code != 1 || !strings.Contains(errs, "exists already") {
		t.Errorf("over a file: %d %s", code, errs)
	}
	if code, out, errs = ran(t, "db", "configure", "create", "--proxy-server=p.example.com:443", "--dynamic-resources-labels=*=*"); code != 0 || strings.Contains(out, "databases") {
		t.Errorf("registered ones alone: %d %s %s", code, out, errs)
	}
}

// TestDBRefusals: each in one line, before anything is written or dialled.
func TestDBRefusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "teleport.yaml")
	if err := os.WriteFile(file, []byte("version: v3\ndb_service: {enabled: yes}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"--proxy-server=p.example.com:443", "--token=x", "--data-dir=" + dir}
	named := append([]string{"--name=orders", "--protocol=postgres", "--uri=h:5432"}, good...)
	for want, args := range map[string][]string{
		"--name of a database is missing":                        good,
		"are of a database that --name names":                    append([]string{"--uri=h:5432", "--dynamic-resources-labels=a=b"}, good...),
		"--protocol= is not one of cockroachdb, dynamodb, mysql": append([]string{"--name=orders", "--uri=h:5432"}, good...),
		"--protocol=oracle is not one of":                        append([]string{"--name=orders", "--protocol=oracle", "--uri=h:1"}, good...),
		`label "env" is not written key=value`:                   append([]string{"--labels=env"}, named...),
		`label "b" is not written key=value`:                     append([]string{"--dynamic-resources-labels=b"}, named...),
		"orders":                                                 append([]string{"--name=orders", "--protocol=postgres"}, good...),
		"/no/such.pem":                                           append([]string{"--ca-cert=/no/such.pem"}, named...),
	} {
		for _, verb := range [][]string{{"db", "start"}, {"db", "configure", "create"}} {
			code, out, errs := ran(t, append(verb, args...)...)
			if code != 2 || out != "" || !strings.Contains(errs, want) || strings.Count(errs, "ERROR") != 1 {
				t.Errorf("%v %v: %d %q %s", verb, args, code, out, errs)
			}
		}
	}
	for want, args := range map[string][]string{
		"--name says what the file of --config says": {"-c", file, "--name=orders"},
		"fronts nothing": {"-c", file},
		"/no/such.yaml":  {"-c", "/no/such.yaml"},
	} {
		if code, _, errs := ran(t, append([]string{"db", "start"}, args...)...); code != 2 && code != 5 || !strings.Contains(errs, want) || strings.Count(errs, "ERROR") != 1 {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}
