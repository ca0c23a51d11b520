package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestCompletionLoads has each shell read its script and complete a word with it.
func TestCompletionLoads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	for shell, c := range map[string]struct {
		flags []string
		check string
	}{
		"bash": {[]string{"--norc", "--noprofile"}, `source "$1" && complete -p tsh && COMP_WORDS=(tsh lo) COMP_CWORD=1 COMP_LINE="tsh lo" COMP_POINT=6 && tsh __complete lo`},
		"zsh":  {[]string{"-f"}, `autoload -U compinit && compinit -u -d "$HOME/.zcompdump" && source "$1" && print -r -- $_comps[tsh] && tsh __complete lo`},
		"fish": {[]string{"--no-config"}, `source $argv[1]; complete -C "tsh lo"`},
	} {
		t.Run(shell, func(t *testing.T) {
			path := cluster.Need(t, shell, shell)
			script := write(t, filepath.Join(w.alice.Home, "completion."+shell), w.alice.Tsh("completion", shell).OK(t))
			args := append(c.flags, "-c", c.check)
			if shell != "fish" {
				args = append(args, shell)
			}
			r := w.alice.Run(cluster.Command{Path: path, Args: append(args, script)})
			contains(t, r.OK(t), "login", "logout")
		})
	}
	// It keeps nobody waiting for longer than three seconds, which a busy machine may need.
	cluster.Until(t, within, "names of nodes", func() bool { return strings.Contains(w.alice.Tsh("__complete", "ssh", "no").OK(t), w.node.Name) })
}
