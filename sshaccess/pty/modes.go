package pty

import "golang.org/x/sys/unix"

// controlChars maps opcodes of RFC 4254 §8 to control characters.
var controlChars = map[byte]int{
	1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
	8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT, 18: unix.VDISCARD,
}

type flag struct {
	field func(*unix.Termios) *uint32
	bit   uint32
}

func iflag(t *unix.Termios) *uint32 { return &t.Iflag }
func lflag(t *unix.Termios) *uint32 { return &t.Lflag }
func oflag(t *unix.Termios) *uint32 { return &t.Oflag }
func cflag(t *unix.Termios) *uint32 { return &t.Cflag }

// flags maps opcodes of RFC 4254 §8 (and RFC 8160 for IUTF8) to mode bits. The
// character size, 90 and 91, is set apart.
var flags = map[byte]flag{
	30: {iflag, unix.IGNPAR}, 31: {iflag, unix.PARMRK}, 32: {iflag, unix.INPCK}, 33: {iflag, unix.ISTRIP},
	34: {iflag, unix.INLCR}, 35: {iflag, unix.IGNCR}, 36: {iflag, unix.ICRNL}, 37: {iflag, unix.IUCLC},
	38: {iflag, unix.IXON}, 39: {iflag, unix.IXANY}, 40: {iflag, unix.IXOFF}, 41: {iflag, unix.IMAXBEL}, 42: {iflag, unix.IUTF8},
	50: {lflag, unix.ISIG}, 51: {lflag, unix.ICANON}, 52: {lflag, unix.XCASE}, 53: {lflag, unix.ECHO},
	54: {lflag, unix.ECHOE}, 55: {lflag, unix.ECHOK}, 56: {lflag, unix.ECHONL}, 57: {lflag, unix.NOFLSH},
	58: {lflag, unix.TOSTOP}, 59: {lflag, unix.IEXTEN}, 60: {lflag, unix.ECHOCTL}, 61: {lflag, unix.ECHOKE}, 62: {lflag, unix.PENDIN},
	70: {oflag, unix.OPOST}, 71: {oflag, unix.OLCUC}, 72: {oflag, unix.ONLCR}, 73: {oflag, unix.OCRNL},
	74: {oflag, unix.ONOCR}, 75: {oflag, unix.ONLRET},
	92: {cflag, unix.PARENB}, 93: {cflag, unix.PARODD},
}
