// Package inifile edits one section of a file of sections, as ~/.pg_service.conf
// and ~/.my.cnf are, and keeps every other byte of it: the file is the person's,
// who may have written it by hand.
//
//	file    = { line }
//	line    = header | key | loose
//	header  = "[" name "]"
//	loose   = blank, or what begins with "#", ";" or "!"
//
// A section goes from its header to its last key: loose lines after that are kept,
// as they may be about what follows.
package inifile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"teleport/fault"
	"teleport/wholefile"
)

// MaxSize is that of a file, in bytes.
const MaxSize = 1 << 20

// Put returns the text with the lines as the one section of that name: in its
// place, or at the end. Lines are without their ends, which are those of the text.
func Put(text []byte, section string, lines ...string) []byte {
	end := "\n"
	if i := bytes.IndexByte(text, '\n'); i > 0 && text[i-1] == '\r' {
		end = "\r\n"
	}
	own := []byte("[" + section + "]" + end + strings.Join(lines, end) + end)
	all := split(text)
	at, next := find(all, section)
	if at >= 0 {
		rest := drop(all[next:], section)
		return slices.Concat(slices.Concat(all[:at]...), own, slices.Concat(rest...))
	}
	out := slices.Clone(text)
	if n := len(all); n > 0 {
		if !bytes.HasSuffix(text, []byte("\n")) {
			out = append(out, end...)
		}
		if kindOf(all[n-1]) != blank {
			out = append(out, end...)
		}
	}
	return append(out, own...)
}

// Drop returns the text without the section, and without the blank line that set
// it apart from what stands before it.
func Drop(text []byte, section string) []byte {
	return slices.Concat(drop(split(text), section)...)
}

func drop(all [][]byte, section string) [][]byte {
	for {
		at, next := find(all, section)
		if at < 0 {
			return all
		}
		if at > 0 && kindOf(all[at-1]) == blank && (next == len(all) || kindOf(all[next]) == blank) {
			at--
		}
		all = slices.Delete(slices.Clone(all), at, next)
	}
}

// split keeps the ends of lines.
func split(text []byte) [][]byte {
	return slices.DeleteFunc(bytes.SplitAfter(text, []byte("\n")), func(l []byte) bool { return len(l) == 0 })
}

// find returns where the first section of that name begins, and the line after its
// last key; -1 where there is none.
func find(all [][]byte, section string) (at, next int) {
	at = slices.IndexFunc(all, func(l []byte) bool { return kindOf(l) == header && nameOf(l) == section })
	if at < 0 {
		return -1, -1
	}
	next = at + 1
	for i := next; i < len(all) && kindOf(all[i]) != header; i++ {
		if kindOf(all[i]) == key {
			next = i + 1
		}
	}
	return at, next
}

// kind is what a line is.
type kind int

const (
	key kind = iota
	header
	blank
	loose // a comment, or an order to read another file
)

const mark = "\ufeff" // of the order of bytes, with which some editors begin a file

func kindOf(line []byte) kind {
	l := bytes.TrimSpace(bytes.TrimPrefix(line, []byte(mark)))
	switch {
	case len(l) == 0:
		return blank
	case l[0] == '[':
		return header
	case l[0] == '#', l[0] == ';', l[0] == '!':
		return loose
	}
	return key
}

func nameOf(line []byte) string {
	l := bytes.TrimSpace(bytes.TrimPrefix(line, []byte(mark)))
	name, _, _ := bytes.Cut(l[1:], []byte("]"))
	return string(bytes.TrimSpace(name))
}

// Edit changes a file by what change makes of its text, in one step: whoever reads
// it finds the old or the new. Its mode stays, and a symbolic link leads where it
// led. A file that is missing counts as empty, and is made for its owner alone; one
// that was left empty is removed.
func Edit(path string, change func(text []byte) []byte) error {
	linked := path
	if to, err := filepath.EvalSymlinks(path); err == nil {
		linked = to
	}
	text, mode, err := read(linked)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	now := change(text)
	switch {
	case bytes.Equal(text, now):
		return nil
	case len(now) == 0 && linked == path:
		return fault.Unwritable(os.Remove(path), path)
	}
	return fault.Unwritable(wholefile.Write(linked, now, mode), path)
}

func read(path string) ([]byte, fs.FileMode, error) {
	const private = 0o600
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, private, err
	}
	if err != nil {
		return nil, private, fault.Unreadable(err, path)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, private, errors.Join(fault.New(fault.Invalid, "%s is not a regular file", path), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(text) > MaxSize {
		err = fault.New(fault.Limit, "%s has more than %d bytes", path, MaxSize)
	}
	return text, info.Mode().Perm(), err
}
