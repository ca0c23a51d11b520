package mysqlwire

import (
	"io"
	"regexp"
	"strconv"

	"teleport/fault"
)

// MaxLogin is the payload of a packet of a login, in bytes; attributes may take 64 KiB.
const MaxLogin = 128 << 10

// ReadLogin reads one packet of a login, which is short. One who has nothing to prove
// sends an empty one.
func ReadLogin(r io.Reader) (payload []byte, sequence byte, err error) {
	var head [HeadSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	n, sequence := Head(head[:])
	if n > MaxLogin {
		return nil, sequence, ErrLogin
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return payload, sequence, err
}

// ErrLogin is what a login is refused with that goes otherwise than they do.
var ErrLogin = fault.New(fault.Invalid, "this is not how a login of MySQL goes")

// A proxy that greets a client before it knows the database has a number of its own
// for the connection. It tells the agent by this attribute of the login. Such
// numbers begin where those of servers do not come, and are all of ten digits.
const (
	NumberAttribute = "_gateway_connection_id"
	FirstNumber     = 1 << 31
)

// KillSize is the most that a statement takes which only kills, in bytes.
const KillSize = 64

var kill = regexp.MustCompile(`(?i)^\s*kill\s+(?:(?:hard|soft)\s+)?(?:(?:connection|query)\s+)?([1-4][0-9]{9})\s*;?\s*$`)

// Kill finds the number in a statement that kills a connection with a number as
// proxies give them: where its ten digits begin.
func Kill(statement []byte) (number uint32, at int, ok bool) {
	if len(statement) > KillSize {
		return 0, 0, false
	}
	found := kill.FindSubmatchIndex(statement)
	if found == nil {
		return 0, 0, false
	}
	at = found[2]
	n, err := strconv.ParseUint(string(statement[at:found[3]]), 10, 32)
	return uint32(n), at, err == nil && n >= FirstNumber
}

// Refusal is the payload of an error of ours in the server's form, with what to do
// about it.
func Refusal(why error) []byte {
	e, known := map[fault.Kind]Err{
		fault.Denied: {Code: 1045, State: "28000"}, fault.Unauthenticated: {Code: 1045, State: "28000"}, // ER_ACCESS_DENIED_ERROR
		fault.Unimplemented: {Code: 1235, State: "42000"}, // ER_NOT_SUPPORTED_YET
		fault.Invalid:       {Code: 1835, State: "HY000"}, // ER_MALFORMED_PACKET
		fault.Limit:         {Code: 1153, State: "08S01"}, // ER_NET_PACKET_TOO_LARGE
		fault.Timeout:       {Code: 1159, State: "08S01"}, // ER_NET_READ_INTERRUPTED
	}[fault.KindOf(why)]
	if !known {
		e = Err{Code: 1105, State: "HY000"} // ER_UNKNOWN_ERROR
	}
	e.Message = fault.Message(why)
	if hint := fault.Hint(why); hint != "" {
		e.Message += " (" + hint + ")"
	}
	return e.Append(nil)
}
