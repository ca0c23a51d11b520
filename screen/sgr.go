package screen

import "strconv"

// apply changes a style as SGR says.
func (t *style) apply(q *sequence) {
	if q.n == 0 {
		*t = style{}
		return
	}
	for i := 0; i < q.n; i++ {
		subs := 0
		for i+1+subs < q.n && q.sub[i+1+subs] {
			subs++
		}
		v := q.values[i]
		if v == 38 || v == 48 || v == 58 {
			c, took := extended(q, i+1, subs)
			switch v {
			case 38:
				t.fg = c
			case 48:
				t.bg = c
			}
			i += took
			continue
		}
		if v == 4 && subs > 0 && q.values[i+1] == 0 {
			v = 24 // 4:0
		}
		t.one(v)
		i += subs
	}
}

// extended reads the colour after 38 or 48, in the forms with ; and with :.
func extended(q *sequence, i, subs int) (c color, took int) {
	at := func(j int) color { return color(min(q.arg(i+j, 0), 255)) }
	switch q.arg(i, 0) {
	case 5:
		return palette | at(1), max(2, subs)
	case 2:
		first := 1
		if subs >= 5 {
			first = 2 // 38:2:space:r:g:b
		}
		return truecolor | at(first)<<16 | at(first+1)<<8 | at(first+2), max(4, subs)
	}
	return 0, max(1, subs)
}

func (t *style) one(v int) {
	switch {
	case v == 0:
		*t = style{}
	case v >= 1 && v <= 5:
		t.attr |= bold << (v - 1)
	case v == 6:
		t.attr |= blink
	case v >= 7 && v <= 9:
		t.attr |= inverse << (v - 7)
	case v == 21:
		t.attr |= underline
	case v == 22:
		t.attr &^= bold | faint
	case v >= 23 && v <= 25:
		t.attr &^= italic << (v - 23)
	case v >= 27 && v <= 29:
		t.attr &^= inverse << (v - 27)
	case v >= 30 && v <= 37:
		t.fg = palette | color(v-30)
	case v == 39:
		t.fg = 0
	case v >= 40 && v <= 47:
		t.bg = palette | color(v-40)
	case v == 49:
		t.bg = 0
	case v >= 90 && v <= 97:
		t.fg = palette | color(v-90+8)
	case v >= 100 && v <= 107:
		t.bg = palette | color(v-100+8)
	}
}

// appendTo appends the sequence that sets the style, whatever was set before.
func (t style) appendTo(dst []byte) []byte {
	dst = append(dst, "\x1b[0"...)
	for i, code := range [...]string{";1", ";2", ";3", ";4", ";5", ";7", ";8", ";9"} {
		if t.attr&(1<<i) != 0 {
			dst = append(dst, code...)
		}
	}
	dst = t.fg.appendTo(dst, 30)
	dst = t.bg.appendTo(dst, 40)
	return append(dst, 'm')
}

func (c color) appendTo(dst []byte, base int) []byte {
	n := int(c & 0xffffff)
	number := func(n int) { dst = strconv.AppendInt(append(dst, ';'), int64(n), 10) }
	switch {
	case c&truecolor != 0:
		number(base + 8)
		number(2)
		number(n >> 16)
		number(n >> 8 & 255)
		number(n & 255)
	case c&palette == 0:
	case n < 8:
		number(base + n)
	case n < 16:
		number(base + 60 + n - 8)
	default:
		number(base + 8)
		number(5)
		number(n)
	}
	return dst
}
