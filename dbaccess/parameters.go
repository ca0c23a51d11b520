package dbaccess

import (
	"encoding/hex"
	"fmt"
	"unicode/utf8"

	"teleport/types"
	"teleport/types/event"
)

// Bounds of what an event tells of parameters.
const (
	mostParameters = 64
	maxParameter   = 256 // bytes of one
	null           = `\N`
)

// Parameters takes the parameters of a statement one by one, and makes of them
// what an event tells at the capture level of the session. Use it from one
// goroutine.
type Parameters struct {
	level string
	out   event.Parameters
}

// NewParameters begins with none. level is that of Session.Captures, count how
// many there are.
func NewParameters(level string, count int) *Parameters {
	return &Parameters{level: level, out: event.Parameters{Count: count}}
}

// Add adds one by its type's name and its value, which is nil where it is NULL.
// binary says that the value is no text. It does not keep value.
func (p *Parameters) Add(typ string, value []byte, binary bool) {
	if len(p.out.Types) == mostParameters || p.level != types.DBParametersTypes && p.level != types.DBParametersValues {
		return
	}
	p.out.Types = append(p.out.Types, typ)
	if p.level != types.DBParametersValues {
		return
	}
	text := null
	if value != nil {
		text = valueText(value, binary)
	}
	p.out.Values = append(p.out.Values, text)
}

// Event returns what an event tells.
func (p *Parameters) Event() event.Parameters { return p.out }

func valueText(value []byte, binary bool) string {
	head, after := value, ""
	if len(head) > maxParameter {
		head, after = head[:maxParameter], fmt.Sprintf("… (%d bytes)", len(value))
		if !binary {
			head = wholeCharacters(head)
		}
	}
	if binary || !utf8.Valid(head) {
		return "0x" + hex.EncodeToString(head) + after
	}
	return string(head) + after
}

// Captures is what the events of this session tell of parameters, after Begin:
// types.DBParametersNone, …Types or …Values.
func (s *Session) Captures() string { return s.decision.Limits.DBParameters }
