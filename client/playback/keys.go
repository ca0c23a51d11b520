package playback

import "io"

// Key is what a person at a player asks for.
type Key int

// The keys. Their names on the keyboard are in KeyHelp.
const (
	KeyPause Key = iota + 1
	KeyBack
	KeyForward
	KeyStart
	KeyEnd
	KeyFaster
	KeySlower
	KeyStep
	KeySuspend
	KeyQuit
)

// KeyHelp names the keys, for help texts.
const KeyHelp = `  space           pause, and go on
  .               pause, and show the next change
  left, right     10 seconds back or forth
  home, end       to the beginning, to the end
  up, +, down, -  twice or half as fast
  Ctrl-Z          back to the shell until fg
  q, Ctrl-C       quit`

var keys = map[string]Key{
	" ": KeyPause, "p": KeyPause, ".": KeyStep, "\x1a": KeySuspend, "h": KeyBack, "l": KeyForward, "0": KeyStart, "g": KeyStart, "$": KeyEnd, "G": KeyEnd,
	"+": KeyFaster, "=": KeyFaster, "k": KeyFaster, "-": KeySlower, "_": KeySlower, "j": KeySlower, "q": KeyQuit, "Q": KeyQuit, "\x03": KeyQuit, "\x04": KeyQuit,
	"\x1b[D": KeyBack, "\x1b[C": KeyForward, "\x1b[A": KeyFaster, "\x1b[B": KeySlower, "\x1b[H": KeyStart, "\x1b[F": KeyEnd,
	"\x1bOD": KeyBack, "\x1bOC": KeyForward, "\x1bOA": KeyFaster, "\x1bOB": KeySlower, "\x1bOH": KeyStart, "\x1bOF": KeyEnd,
	"\x1b[1~": KeyStart, "\x1b[4~": KeyEnd, "\x1b[7~": KeyStart, "\x1b[8~": KeyEnd,
}

// ReadKeys sends the keys that r holds until r ends or done is closed, and then
// closes the channel. What is no key is ignored.
func ReadKeys(r io.Reader, done <-chan struct{}, to chan<- Key) {
	defer close(to)
	var typed []byte
	buf := make([]byte, 256)
	for {
		n, err := r.Read(buf)
		typed = append(typed, buf[:n]...)
		for len(typed) > 0 {
			k, used := nextKey(typed)
			if used == 0 {
				break
			}
			typed = typed[used:]
			if k == 0 {
				continue
			}
			select {
			case to <- k:
			case <-done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// nextKey takes one key off what was typed: 0 for none that is known, used 0
// where an escape sequence is not whole yet.
func nextKey(typed []byte) (k Key, used int) {
	if typed[0] != 0x1b {
		return keys[string(typed[:1])], 1
	}
	if len(typed) == 1 {
		return 0, 0
	}
	if typed[1] != '[' && typed[1] != 'O' {
		return 0, 1
	}
	for i := 2; i < len(typed); i++ {
		if typed[i] >= 0x40 {
			return keys[string(typed[:i+1])], i + 1
		}
		if i > 16 {
			return 0, i
		}
	}
	return 0, 0
}
