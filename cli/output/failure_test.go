package output_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"teleport/cli/output"
	"teleport/fault"
)

// TestEveryKindHasItsCode: a script can tell what to do next from any kind.
func TestEveryKindHasItsCode(t *testing.T) {
	want := map[fault.Kind]int{fault.Internal: 1, fault.NotFound: 5, fault.AlreadyExists: 2, fault.Denied: 4, fault.Unauthenticated: 3,
		fault.Invalid: 2, fault.Conflict: 5, fault.Limit: 6, fault.Unavailable: 6, fault.Timeout: 6, fault.Canceled: 130,
		fault.Unimplemented: 1, fault.Untrusted: 4}
	for _, k := range fault.Kinds() {
		if code, ok := want[k]; !ok || output.ExitCode(fault.New(k, "x")) != code {
			t.Errorf("%s ends with %d", k, output.ExitCode(fault.New(k, "x")))
		}
	}
	if output.ExitCode(nil) != 0 || output.ExitCode(errors.New("x")) != 1 {
		t.Error("no error, or one of no kind")
	}
}

func TestALongMessageIsShortened(t *testing.T) {
	var b bytes.Buffer
	output.Error(&b, fault.New(fault.Invalid, "%q is bad", strings.Repeat("가", 5000)).WithHint("\x1b[2Jhint"))
	if s := b.String(); len(s) > 3000 || strings.Contains(s, "\x1b") || !strings.Contains(s, "characters") || !strings.HasSuffix(s, "hint: \\x1b[2Jhint\n") {
		t.Errorf("%q", s)
	}
}

func TestWrongUseIsSaidInPlainWords(t *testing.T) {
	for args, want := range map[string]string{
		"usres":              `tool has no command "usres"; did you mean tool users?`,
		"users lss":          `tool users has no command "lss"; did you mean tool users ls?`,
		"users ls x":         `tool users ls takes no argument, and got "x"; use: tool users ls [flags]`,
		"users ls --ttl=x":   `--ttl "x" is not a duration: write it like 30m or 12h; see: tool users ls --help`,
		"users ls --n=x":     `--n "x" is not a number; see: tool users ls --help`,
		"users ls --as=x":    `--as "x" is not a format: use text, json or yaml; see: tool users ls --help`,
		"users ls --nope":    `unknown flag: --nope; see: tool users ls --help`,
		"users ls --ttl=1s":  `tool users ls needs --out; see: tool users ls --help`,
		"users ls --out=abc": "",
	} {
		ls := &cobra.Command{Use: "ls", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return nil }}
		ls.Flags().Duration("ttl", time.Hour, "")
		ls.Flags().Int("n", 0, "")
		ls.Flags().Var(new(output.Format), "as", "")
		ls.Flags().String("out", "", "")
		if err := ls.MarkFlagRequired("out"); err != nil {
			t.Fatal(err)
		}
		users, root := &cobra.Command{Use: "users"}, &cobra.Command{Use: "tool", SilenceErrors: true, SilenceUsage: true}
		users.AddCommand(ls)
		root.AddCommand(users)
		root.SetArgs(strings.Fields(args))
		output.Strict(root)
		err := root.Execute()
		got := ""
		if err != nil {
			got = fault.Message(err) + "; " + fault.Hint(err)
		}
		if got != want || err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}
