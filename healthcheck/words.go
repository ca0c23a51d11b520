package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"

	"teleport/fault"
	"teleport/netx"
)

// Dial is the check of everything that takes connections: it opens one, and
// closes it.
func Dial(ctx context.Context, d netx.Dialer, addr string) error {
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// why says in a few words what went wrong, for everybody who sees the resource. A
// server's own words are cut to what an announcement may hold.
func why(err error, timeout time.Duration) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(cause(err, timeout), "?"))
	if len(text) > mostWords {
		text = strings.ToValidUTF8(text[:mostWords], "") + "…"
	}
	return text
}

const mostWords = 256

// cause says in a few words what went wrong, and tells no addresses of the agent's own
// network or of its name servers.
func cause(err error, timeout time.Duration) string {
	var name *net.DNSError
	var number syscall.Errno
	var timed net.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &name) && name.IsNotFound:
		return "there is no host " + name.Name
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timed) && timed.Timeout():
		return fmt.Sprintf("no answer within %s", timeout)
	case errors.As(err, &name):
		return "the host " + name.Name + " cannot be looked up"
	case errors.As(err, &number):
		return number.Error()
	}
	return fault.Message(err)
}

func message(run int, ok bool) string {
	outcome := "failed"
	if ok {
		outcome = "succeeded"
	}
	if run == 1 {
		return "one check " + outcome
	}
	return fmt.Sprintf("%d checks in a row %s", run, outcome)
}
