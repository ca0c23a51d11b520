package screen

import (
	"unicode"

	"golang.org/x/text/width"
)

// Width is how many columns a character takes: 0 for marks that join the
// character before, 2 for wide ones.
func Width(r rune) int {
	switch {
	case r < 0x300:
		return 1 // Latin; controls never get here
	case r >= 0x1160 && r <= 0x11ff: // medial and final Hangul join their initial
		return 0
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// lineDrawing is the DEC special graphics set, for the letters from 0x5f to 0x7e.
var lineDrawing = []rune(" ◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")
