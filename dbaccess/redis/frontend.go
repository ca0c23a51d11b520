package redis

import (
	"strings"

	"teleport/dbaccess/redis/rediswire"
	"teleport/dbaccess/relay"
	"teleport/fault"
)

// frontend is what the client says. Commands are seen whole, so that none may be
// longer than relay.Most.
type frontend struct {
	*conversation
	scan rediswire.Scanner
}

var _ relay.Direction = (*frontend)(nil)

// refused are commands by which a connection becomes somebody else's, or another
// server's. They end the session, as what follows them was meant for that.
var refused = map[string]string{
	"RESET":    "it would end the log-in",
	"SYNC":     notReplication,
	"PSYNC":    notReplication,
	"REPLCONF": notReplication,
}

const notReplication = "the replication protocol is not let through"

// Split implements relay.Direction.
func (f *frontend) Split(b []byte) (int64, int, error) {
	size, err := f.scan.Scan(b)
	if err == nil && (size > relay.Most || size == 0 && len(b) > relay.Most) {
		err = fault.New(fault.Limit, "a command may have %d MiB at most", relay.Most>>20)
	}
	if err != nil {
		return 0, 0, f.unreadable(b, err)
	}
	return size, int(size), nil
}

// See implements relay.Direction.
func (f *frontend) See(b []byte) (bool, error) {
	words, err := rediswire.Words(b)
	if err != nil {
		return false, f.unreadable(b, err)
	}
	name := strings.ToUpper(string(words[0]))
	why := error(nil)
	if text, ok := refused[name]; ok {
		why = fault.New(fault.Denied, "%s is not let through: %s", name, text)
	} else {
		why = f.other(logins(words))
	}
	if why == nil {
		return true, f.tell(words)
	}
	if err := f.fail(words, why); err != nil {
		return false, err
	}
	return false, why
}

// Commit implements relay.Direction.
func (f *frontend) Commit() error { return nil }
