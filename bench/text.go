package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// measureText shows a large text file at a terminal, which is what a recording
// costs most for: it is compressed and encrypted before anybody sees it.
func (b *bench) measureText(ctx context.Context) error {
	file := filepath.Join(b.dir, "text")
	if err := b.goSource(ctx, file, b.text); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	size := info.Size()
	all := b.contenders()[:2]
	tallies := make([]tally, len(all))
	for round := range b.rounds {
		for _, i := range turn(len(all), round) {
			if err := tallies[i].show(all[i], file, size); err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	mode, err := b.cl.recordingMode()
	if err != nil {
		return err
	}
	s := b.table.section(fmt.Sprintf("Text: cat of %.0f MB of Go source at a terminal, recorded: %s, %d times in turns", float64(size)/1e6, mode, b.rounds),
		"path", "MB/s", "÷ ssh -J, median of pairs (quartiles)", "CPU ns/byte", "of it client", "servers", "their children")
	for i, c := range all {
		t := tallies[i]
		each := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(size)/float64(b.rounds)) }
		own, kids, by := t.sum(c, each)
		s.row(c.name, fmt.Sprintf("%.0f", median(t.wall)), spread(ratios(t.wall, tallies[1].wall)), each(t.client+own+kids), each(t.client),
			each(own)+" ("+strings.Join(by, ", ")+")", each(kids))
	}
	s.note("To reach: ≥ 0.60 of ssh -J.")
	return nil
}

// show runs cat and counts what comes to the screen. The terminal puts a carriage
// return before each line's end, so it is more than the file.
func (t *tally) show(c contender, file string, size int64) error {
	if err := t.begin(c); err != nil {
		return err
	}
	begun := time.Now()
	screen, err := atTerminal(c.screen("cat " + file))
	if err != nil {
		return err
	}
	defer screen.close()
	defer screen.within(10 * time.Minute)()
	var shown int64
	for err == nil {
		var b []byte
		b, err = screen.read()
		shown += int64(len(b))
	}
	took := time.Since(begun)
	if !ended(err) {
		return err
	}
	if err := screen.cmd.Wait(); err != nil {
		return err
	}
	if shown < size {
		return fmt.Errorf("%d bytes of %d were shown", shown, size)
	}
	t.wall = append(t.wall, float64(size)/1e6/took.Seconds())
	t.client += screen.cmd.ProcessState.UserTime() + screen.cmd.ProcessState.SystemTime()
	return errors.Join(calm(c.servers), t.end(c))
}

// goSource writes at least size bytes of Go's own source to a file.
func (b *bench) goSource(ctx context.Context, path string, size int64) error {
	root, err := output(exec.CommandContext(ctx, "go", "env", "GOROOT"))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	from := filepath.Join(strings.TrimSpace(root), "src")
	for n := int64(0); n < size; {
		before := n
		if n, err = appendSource(f, from, n, size); err != nil {
			return err
		}
		if n == before {
			return fmt.Errorf("there is no Go source in %s", from)
		}
	}
	return f.Close()
}

// appendSource goes through the Go files in a directory once, until n has grown
// to size, and returns what it has grown to.
func appendSource(f *os.File, from string, n, size int64) (int64, error) {
	err := filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(name) != ".go" {
			return err
		}
		if n >= size {
			return fs.SkipAll
		}
		src, err := os.ReadFile(name)
		if err == nil {
			_, err = f.Write(src)
		}
		n += int64(len(src))
		return err
	})
	return n, err
}
