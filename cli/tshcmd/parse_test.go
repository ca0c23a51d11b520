package tshcmd

import (
	"strings"
	"testing"

	"teleport/cli/output"
	"teleport/fault"
)

func TestParseForward(t *testing.T) {
	for text, want := range map[string]string{
		"8080:web:80": "localhost:8080 web:80", "*:8080:web:80": ":8080 web:80", ":8080:web:80": ":8080 web:80",
		"0.0.0.0:1:[::1]:2": "0.0.0.0:1 [::1]:2", "[::1]:1:h:2": "[::1]:1 h:2", "0:h:2": "localhost:0 h:2", "8080 web:80": "localhost:8080 web:80",
	} {
		if f, err := parseForward(text, false); err != nil || f.listen+" "+f.dest != want {
			t.Errorf("%s: %+v, %v", text, f, err)
		}
	}
	for text, want := range map[string]string{"1080": "localhost:1080", "[::]:1080": "[::]:1080"} {
		if f, err := parseForward(text, true); err != nil || f.listen != want || f.dest != "" {
			t.Errorf("%s: %+v, %v", text, f, err)
		}
	}
	for _, text := range []string{"", "8080", "8080:web", "x:web:80", "8080:web:99999", "8080::80", "[::1:8080:h:1", "a:b:c:d:e", "1:h:0"} {
		if f, err := parseForward(text, false); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %+v, %v", text, f, err)
		}
	}
}

func FuzzParseForward(f *testing.F) {
	f.Add("[::1]:1:h:2", false)
	f.Add("*:1080", true)
	f.Fuzz(func(t *testing.T, text string, dynamic bool) {
		fw, err := parseForward(text, dynamic)
		if err == nil && (fw.listen == "" || (fw.dest == "") != dynamic) {
			t.Errorf("%q: %+v", text, fw)
		}
	})
}

func TestRemoteFile(t *testing.T) {
	for arg, want := range map[string]string{
		"host:path": "host|path", "root@host:": "root@host|", "[::1]:/x:y": "[::1]|/x:y", "root@[::1]:x": "root@[::1]|x",
		"./a:b": "", "/a:b": "", "plain": "", ":x": "", "env=prod:/x": "env=prod|/x",
	} {
		host, path, remote := remoteFile(arg)
		if got := host + "|" + path; remote != (want != "") || remote && got != want {
			t.Errorf("%s: %q, %v", arg, got, remote)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for s, want := range map[string]string{"": "''", "plain-1.2/x": "plain-1.2/x", "a b": "'a b'", "a'b": `'a'\''b'`, "$(x)": "'$(x)'"} {
		if got := shellQuote(s); got != want {
			t.Errorf("%q became %s", s, got)
		}
	}
}

func TestErrorsAreHarmless(t *testing.T) {
	var b strings.Builder
	output.Error(&b, fault.New(fault.Conflict, "ambiguous:\none\x1b[2J\ntwo").WithHint("do\rsomething"))
	if got := b.String(); got != "ERROR: ambiguous:\n  one\\x1b[2J\n  two\nhint: do\\x0dsomething\n" {
		t.Errorf("%q", got)
	}
}
