package sshaccess

// presses tells keys from what a terminal answers by itself: programs ask it for
// its size or its kind, everybody's terminal answers, and an answer such as
// "\x1b[8;24;80t" is nobody's wish. It keeps its place between two reads. The zero
// value is ready.
type presses struct {
	state   byte // 0, or what is being passed over: escape, sequence or text
	escaped bool // an ESC in a text, which ends it with the next byte
}

// What presses passes over.
const (
	anEscape   = 'e' // ESC was read
	aSequence  = '[' // CSI or SS3, until its final byte
	aString    = ']' // OSC, DCS, APC, PM or SOS, until BEL or ST
	escapeByte = 0x1b
	bellByte   = 0x07
)

// keys returns the bytes of p that are single keys. Ctrl-C is one wherever it
// stands, and ends whatever it stands in. The result is a part of p's memory.
func (k *presses) keys(p []byte) []byte {
	out := p[:0]
	for _, c := range p {
		if c == interrupt {
			*k = presses{}
		} else if !k.single(c) {
			continue
		}
		out = append(out, c)
	}
	return out
}

// single reports whether c is a key by itself.
func (k *presses) single(c byte) bool {
	switch k.state {
	case anEscape:
		k.state = 0
		switch c {
		case '[', 'O':
			k.state = aSequence
		case ']', 'P', '_', '^', 'X':
			k.state = aString
		case escapeByte:
			k.state = anEscape
		}
		return false
	case aSequence:
		if c >= 0x40 && c <= 0x7e {
			k.state = 0
		}
		return false
	case aString:
		if c == bellByte || k.escaped {
			k.state = 0
		}
		k.escaped = c == escapeByte && k.state != 0
		return false
	}
	if c == escapeByte {
		k.state = anEscape
		return false
	}
	return true
}
