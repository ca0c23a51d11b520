package mysqlwire

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// Value is one parameter of an execution.
type Value struct {
	Type uint16 // with its sign
	Null bool
	Data []byte // as text, where it is a number or a time; else as it came
	Long bool   // it was sent before, by StmtSendLongData
}

// Bound are the parameters of an execution.
type Bound struct {
	Types  []uint16 // of all parameters
	Values []Value  // as many as could be read
}

// unsigned is the bit of a type that has no sign.
const unsigned = 0x8000

// ParseExecute reads what follows the head of StmtExecute: the values of count
// parameters. Their types are there when they are new, else they are those of the
// execution before. long says which parameters were sent before. What breaks off
// is read as far as it goes, beside the error.
func ParseExecute(b []byte, count int, types []uint16, long func(parameter int) bool) (Bound, error) {
	r := &reader{b: b}
	nulls := r.bytes((count + 7) / 8)
	if r.byte() == 1 {
		types = make([]uint16, 0, min(count, len(r.b)/2))
		for range count {
			if types = append(types, r.uint16()); r.bad {
				break
			}
		}
	}
	if r.bad || len(types) != count {
		r.bad = true
		return Bound{}, r.err("parameters")
	}
	out := Bound{Types: types}
	for i, t := range types {
		v := Value{Type: t, Null: nulls[i/8]&(1<<(i%8)) != 0, Long: long(i)}
		if !v.Null && !v.Long {
			v.Data = r.value(t)
		}
		if r.bad {
			break
		}
		out.Values = append(out.Values, v)
	}
	return out, r.err("parameters")
}

// value is one value in the binary form.
func (r *reader) value(t uint16) []byte {
	signed := t&unsigned == 0
	switch t &^ unsigned {
	case 1: // TINY
		return integer(uint64(r.byte()), 8, signed)
	case 2, 13: // SHORT, YEAR
		return integer(uint64(r.uint16()), 16, signed)
	case 3, 9: // LONG, INT24
		return integer(uint64(r.uint32()), 32, signed)
	case 8: // LONGLONG
		if b := r.bytes(8); b != nil {
			return integer(binary.LittleEndian.Uint64(b), 64, signed)
		}
	case 4: // FLOAT
		return strconv.AppendFloat(nil, float64(math.Float32frombits(r.uint32())), 'g', -1, 32)
	case 5: // DOUBLE
		if b := r.bytes(8); b != nil {
			return strconv.AppendFloat(nil, math.Float64frombits(binary.LittleEndian.Uint64(b)), 'g', -1, 64)
		}
	case 6: // NULL
		return []byte{}
	case 7, 10, 12: // TIMESTAMP, DATE, DATETIME
		return moment(r.bytes(int(r.byte())))
	case 11: // TIME
		return span(r.bytes(int(r.byte())))
	default:
		return r.lengthed()
	}
	return nil
}

func integer(n uint64, bits int, signed bool) []byte {
	if signed {
		return strconv.AppendInt(nil, int64(n<<(64-bits))>>(64-bits), 10)
	}
	return strconv.AppendUint(nil, n, 10)
}

// moment is a date, with a time where one is there.
func moment(b []byte) []byte {
	if len(b) < 4 {
		return []byte("0000-00-00")
	}
	out := fmt.Appendf(nil, "%04d-%02d-%02d", binary.LittleEndian.Uint16(b), b[2], b[3])
	if len(b) >= 7 {
		out = fmt.Appendf(out, " %02d:%02d:%02d", b[4], b[5], b[6])
	}
	if len(b) >= 11 {
		out = fmt.Appendf(out, ".%06d", binary.LittleEndian.Uint32(b[7:]))
	}
	return out
}

// span is a time, which may be negative or longer than a day.
func span(b []byte) []byte {
	if len(b) < 8 {
		return []byte("00:00:00")
	}
	sign := map[bool]string{true: "-"}[b[0] != 0]
	out := fmt.Appendf(nil, "%s%02d:%02d:%02d", sign, uint64(binary.LittleEndian.Uint32(b[1:]))*24+uint64(b[5]), b[6], b[7])
	if len(b) >= 12 {
		out = fmt.Appendf(out, ".%06d", binary.LittleEndian.Uint32(b[8:]))
	}
	return out
}

var typeNames = map[uint16]string{0: "decimal", 1: "tinyint", 2: "smallint", 3: "int", 4: "float", 5: "double", 6: "null", 7: "timestamp", 8: "bigint",
	9: "mediumint", 10: "date", 11: "time", 12: "datetime", 13: "year", 15: "varchar", 16: "bit", 245: "json", 246: "decimal", 247: "enum", 248: "set",
	249: "tinyblob", 250: "mediumblob", 251: "longblob", 252: "blob", 253: "varchar", 254: "char", 255: "geometry"}

// TypeName is how SQL calls a type of a parameter.
func TypeName(t uint16) string {
	name, ok := typeNames[t&^unsigned]
	switch {
	case !ok:
		return "type " + strconv.Itoa(int(t&^unsigned))
	case t&unsigned != 0 && (t&^unsigned <= 3 || t&^unsigned == 8 || t&^unsigned == 9) && t&^unsigned != 0:
		return name + " unsigned"
	}
	return name
}
