package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// measureBulk sends zeros through the whole path, one way at a time: a program
// makes them at one end, and they are counted and dropped at the other. Nobody
// compresses, so zeros are as good as noise, which would cost more to make.
func (b *bench) measureBulk(ctx context.Context) error {
	s := b.table.section(fmt.Sprintf("Bulk: %.1f GB through the whole path, %d times each way in turns", float64(b.bytes)/1e9, b.rounds),
		"path", "way", "MB/s", "÷ ssh -J, median of pairs (quartiles)", "CPU ns/byte", "of it client", "servers", "their children")
	if err := b.bothWays(ctx, s, b.contenders()); err != nil {
		return err
	}
	s.note("To reach: ≥ 0.70 of ssh -J. Children are the shell and head or dd; with OpenSSH also sshd's own halves.")
	return nil
}

// measureResume compares streams that outlive their connections with plain ones.
// Only the client asks for them, so both are ours.
func (b *bench) measureResume(ctx context.Context) error {
	s := b.table.section(fmt.Sprintf("Resumable streams: %.1f GB, %d times each way in turns", float64(b.bytes)/1e9, b.rounds),
		"path", "way", "MB/s", "÷ --no-resume, median of pairs (quartiles)", "CPU ns/byte", "of it client", "servers", "their children")
	resumable := b.contenders()[0]
	plain := resumable
	plain.name += " --no-resume"
	plain.run = func(line string) *exec.Cmd {
		cmd := resumable.run(line)
		cmd.Env = append(cmd.Env, "TELEPORT_NO_RESUME=1")
		return cmd
	}
	if err := b.bothWays(ctx, s, []contender{resumable, plain}); err != nil {
		return err
	}
	s.note("To reach: ≥ 0.90 of the plain stream.")
	return nil
}

type transfer func(contender) (*exec.Cmd, error)

func (b *bench) bothWays(ctx context.Context, s *section, all []contender) error {
	if err := b.oneWay(ctx, s, all, "to the host", b.upload); err != nil {
		return err
	}
	return b.oneWay(ctx, s, all, "from the host", b.download)
}

// oneWay moves bytes with each contender in turns. All are compared with the
// second.
func (b *bench) oneWay(ctx context.Context, s *section, all []contender, way string, move transfer) error {
	tallies := make([]tally, len(all))
	for round := range b.rounds {
		for _, i := range turn(len(all), round) {
			t := &tallies[i]
			if err := t.begin(all[i]); err != nil {
				return err
			}
			begun := time.Now()
			cmd, err := move(all[i])
			if err != nil {
				return fmt.Errorf("%s, %s: %w", all[i].name, way, err)
			}
			t.wall = append(t.wall, float64(b.bytes)/1e6/time.Since(begun).Seconds())
			t.client += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			if err := errors.Join(calm(all[i].servers), t.end(all[i])); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	moved := float64(b.bytes) * float64(b.rounds)
	each := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/moved) }
	for i, c := range all {
		t := tallies[i]
		own, kids, by := t.sum(c, each)
		s.row(c.name, way, fmt.Sprintf("%.0f", median(t.wall)), spread(ratios(t.wall, tallies[1].wall)), each(t.client+own+kids), each(t.client),
			each(own)+" ("+strings.Join(by, ", ")+")", each(kids))
	}
	return nil
}

// upload counts with dd at the host.
func (b *bench) upload(c contender) (*exec.Cmd, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	source := exec.Command("head", "-c", fmt.Sprint(b.bytes), "/dev/zero")
	source.Stdout = w
	var said bytes.Buffer
	cmd := c.run("dd of=/dev/null bs=128k 2>&1")
	cmd.Stdin, cmd.Stdout = r, &said
	err = source.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	err = cmd.Run()
	r.Close()
	if serr := source.Wait(); err == nil {
		err = serr
	}
	if err == nil && !strings.Contains(said.String(), fmt.Sprintf("%d bytes", b.bytes)) {
		err = fmt.Errorf("not all bytes arrived: %s", said.String())
	}
	return cmd, err
}

// download counts here.
func (b *bench) download(c contender) (*exec.Cmd, error) {
	cmd := c.run(fmt.Sprintf("head -c %d /dev/zero", b.bytes))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, out, make([]byte, 256<<10))
	if werr := cmd.Wait(); err == nil {
		err = werr
	}
	if err == nil && n != b.bytes {
		err = fmt.Errorf("%d of %d bytes arrived", n, b.bytes)
	}
	return cmd, err
}
