package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// table is what is printed at the end: sections of rows, as Markdown, so that
// README.md can hold it as it is.
type table struct{ sections []*section }

// section is one part of the measurement with columns of its own.
type section struct {
	title string
	head  []string
	rows  [][]string
	notes []string
}

func (t *table) section(title string, head ...string) *section {
	s := &section{title: title, head: head}
	t.sections = append(t.sections, s)
	return s
}

func (s *section) row(cells ...string) { s.rows = append(s.rows, cells) }

func (s *section) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// write prints all sections with aligned columns.
func (t *table) write(w io.Writer) {
	for _, s := range t.sections {
		fmt.Fprintf(w, "\n### %s\n\n", s.title)
		s.write(w)
		for _, n := range s.notes {
			fmt.Fprintf(w, "\n%s\n", n)
		}
	}
}

func (s *section) write(w io.Writer) {
	if len(s.rows) == 0 {
		return
	}
	wide := make([]int, len(s.head))
	for _, r := range append([][]string{s.head}, s.rows...) {
		for i, c := range r {
			wide[i] = max(wide[i], len([]rune(c)))
		}
	}
	line := func(cells []string) {
		for i := range s.head {
			c := ""
			if i < len(cells) {
				c = cells[i]
			}
			fmt.Fprintf(w, "| %s%s ", c, strings.Repeat(" ", wide[i]-len([]rune(c))))
		}
		fmt.Fprintln(w, "|")
	}
	line(s.head)
	rule := slices.Clone(s.head)
	for i := range rule {
		rule[i] = strings.Repeat("-", wide[i])
	}
	line(rule)
	for _, r := range s.rows {
		line(r)
	}
}
