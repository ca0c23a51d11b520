package sshaccess

import (
	"strings"
	"testing"
)

// What a terminal answers when a program asks it is nobody's key: a session whose
// program asked for the size of the window would end by its moderator's hand.
func TestAnswersOfTerminalsAreNoKeys(t *testing.T) {
	for in, want := range map[string]string{
		"t":                                 "t",
		"hat":                               "hat",
		"\x1b[8;24;80t":                     "",
		"\x1b[4;600;800tt":                  "t",
		"\x1b[?62;22ct":                     "t",
		"\x1b[12;40R":                       "",
		"\x1b]11;rgb:tttt/0000/0000\x1b\\":  "",
		"\x1b]11;rgb:tttt/0000/0000\x07t":   "t",
		"\x1bP>|xterm(379)\x1b\\t":          "t",
		"\x1bP1+r5463=t\x1b\\":              "",
		"\x1bt":                             "",
		"\x1b\x1b[8;24;80t":                 "",
		"\x1bOPt":                           "t",
		"\x1b[I\x1b[O":                      "",
		"\x1b[8;24\x03":                     "\x03",
		"\x1b]0;t\x03t":                     "\x03t",
		strings.Repeat("\x1b[8;24;80t", 50): "",
	} {
		var whole presses
		if got := string(whole.keys([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		var split presses
		var got strings.Builder
		for i := range len(in) { // as a slow line brings it
			got.Write(split.keys([]byte{in[i]}))
		}
		if got.String() != want {
			t.Errorf("%q by the byte: %q, want %q", in, got.String(), want)
		}
	}
}
