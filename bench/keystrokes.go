package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// betweenKeys lets everything on the way go to sleep, as it does under a
// person's fingers, so that waking up is in the time.
const betweenKeys = 20 * time.Millisecond

// echoLine is a program that sends back each byte that is typed.
const echoLine = "stty raw -echo; printf ready; exec cat"

// measureKeys presses a key and waits until it is on the screen, at terminals
// that stand side by side, in turns.
func (b *bench) measureKeys(ctx context.Context) error {
	all := b.contenders()[:2]
	screens := make([]*terminal, len(all))
	times := make([][]float64, len(all))
	for i, c := range all {
		t, err := atTerminal(c.screen(echoLine))
		if err != nil {
			return err
		}
		defer t.close()
		if err := t.await("ready", 30*time.Second); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		screens[i] = t
	}
	const warm = 10
	for n := range b.strokes + warm {
		for _, i := range turn(len(all), n) {
			took, err := screens[i].press(byte('a' + n%26))
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			if n >= warm {
				times[i] = append(times[i], millis(took))
			}
			if err := rest(ctx, betweenKeys); err != nil {
				return err
			}
		}
	}
	s := b.table.section(fmt.Sprintf("Keystroke: from a terminal to a program that echoes and back, %d of each in turns, %s apart", b.strokes, betweenKeys),
		"path", "p50 ms", "p99 ms", "worst ms", "÷ ssh -J, median of pairs (quartiles)")
	ms := func(v []float64, p float64) string { return strconv.FormatFloat(percentile(v, p), 'f', 2, 64) }
	for i, c := range all {
		s.row(c.name, ms(times[i], 0.5), ms(times[i], 0.99), ms(times[i], 1), spread(ratios(times[i], times[1])))
	}
	s.note("To reach: not slower than ssh -J.")
	return nil
}

// press types a key and returns how long it took to be seen.
func (t *terminal) press(key byte) (time.Duration, error) {
	defer t.within(10 * time.Second)()
	begun := time.Now()
	if _, err := t.tty.Write([]byte{key}); err != nil {
		return 0, err
	}
	shown, err := t.read()
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	if len(shown) != 1 || shown[0] != key {
		return 0, fmt.Errorf("%q was typed and %q is shown", key, shown)
	}
	return took, nil
}
