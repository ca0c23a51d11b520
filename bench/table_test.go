package main

import (
	"strings"
	"testing"
)

func TestTableIsMarkdown(t *testing.T) {
	var tab table
	s := tab.section("Set-up", "what", "ms")
	s.row("ours", "61")
	s.row("ssh -J…", "240.5")
	s.row("short")
	s.note("of %d", 50)
	var b strings.Builder
	tab.write(&b)
	want := `
### Set-up

| what    | ms    |
| ------- | ----- |
| ours    | 61    |
| ssh -J… | 240.5 |
| short   |       |

of 50
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
