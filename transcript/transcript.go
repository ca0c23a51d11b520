// Package transcript says in words what an event of a recorded session with a
// database or an app is: what was asked, and how it ended. Playback shows it and searching
// finds it, so both have the same words. It is pure, and nothing that it returns
// is obeyed by a terminal: control characters are written as \xNN.
package transcript

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"teleport/types/event"
)

// Sort is what a line of a transcript is about.
type Sort int

// The sorts. One event may have lines of two.
const (
	Note   Sort = iota // the session itself
	Asked              // what went to the database or app
	Done               // how it ended well
	Failed             // what was refused, here or there
)

// Line is one thing that happened. Its text may have line feeds.
type Line struct {
	Sort Sort
	Text string
}

// String is the line with the mark that tells its sort from others.
func (l Line) String() string {
	switch l.Sort {
	case Done:
		return "→ " + l.Text
	case Failed:
		return "✗ " + l.Text
	}
	return l.Text
}

// Tells reports whether recordings of a kind have no screen, but events to be told.
func Tells(kind string) bool { return kind == "db" || kind == "app" }

// tellers are what is told of each type of event.
var tellers = map[string]func(s said) []Line{
	event.TypeDBStart: func(s said) []Line {
		in := s.DBName
		if in != "" {
			in = ", database " + in
		}
		return one(Note, "%s is connected to %s as %s%s, through %s, on %s UTC", s.User, s.Service, s.DBUser, in, s.Hostname, s.Time.UTC().Format(time.DateTime))
	},
	event.TypeDBEnd:    func(said) []Line { return one(Note, "the connection ended") },
	event.TypeDBQuery:  func(s said) []Line { return asked("", s) },
	event.TypeDBResult: result,
	event.TypeDBQueryFail: func(s said) []Line {
		return append(asked("", s), Line{Failed, "not let through: " + s.Error})
	},
	event.TypeDBMalformed: func(s said) []Line { return one(Failed, "not let through: %s", s.Reason) },

	event.TypePostgresParse: func(s said) []Line {
		if s.Name == "" {
			return asked("", s)
		}
		return asked("prepare "+s.Name+": ", s)
	},
	event.TypePostgresBind: func(s said) []Line {
		switch with := parameters(s); {
		case s.Name != "":
			return one(Asked, "run %s%s", s.Name, with)
		case with != "":
			return one(Asked, "%s", with[1:])
		}
		return nil // the statement before it tells all
	},
	event.TypePostgresExecute: func(s said) []Line {
		if s.Portal == "" {
			return nil // what was bound tells all
		}
		return one(Asked, "rows of %s%s", s.Portal, atMost(s.MaxRows))
	},
	event.TypePostgresFunction: func(s said) []Line { return one(Asked, "function %d", s.Function) },

	event.TypeMySQLPrepare: func(s said) []Line { return asked("prepare: ", s) },
	event.TypeMySQLExecute: func(s said) []Line { return one(Asked, "run statement %d%s", s.StatementID, parameters(s)) },
	event.TypeMySQLFetch: func(s said) []Line {
		return one(Asked, "rows of statement %d%s", s.StatementID, atMost(s.FetchRows))
	},
	event.TypeMySQLInitDB: func(s said) []Line {
		lines := one(Asked, "use %s", s.Schema)
		if s.Error != "" {
			lines = append(lines, Line{Failed, "not let through: " + s.Error})
		}
		return lines
	},
	event.TypeMySQLCreateDB: func(s said) []Line { return one(Asked, "create database %s", s.Schema) },
	event.TypeMySQLDropDB:   func(s said) []Line { return one(Asked, "drop database %s", s.Schema) },
	event.TypeMySQLKill:     func(s said) []Line { return one(Asked, "kill connection %d", s.Process) },
	event.TypeMySQLShutDown: func(said) []Line { return one(Asked, "shut the server down") },
	event.TypeMySQLDebug:    func(said) []Line { return one(Asked, "write debug information into the server's log") },
	event.TypeMySQLRefresh:  func(said) []Line { return one(Asked, "refresh the server") },

	event.TypeDynamoDBRequest: dynamo,
	event.TypeAppRequest:      request,
}

// Of returns what an event is in words, from its JSON; nothing of one that tells
// nothing which others do not, and of what is no event of such a session.
func Of(data []byte) []Line {
	s, ok := read(data)
	tell := tellers[s.Event]
	if !ok || tell == nil {
		return nil
	}
	lines := tell(s)
	for i := range lines {
		lines[i].Text = Visible(strings.TrimRight(lines[i].Text, " \t\r\n"))
	}
	return lines
}

func one(sort Sort, format string, args ...any) []Line {
	return []Line{{sort, fmt.Sprintf(format, args...)}}
}

// asked is a statement; of one that is not whole it says so.
func asked(before string, s said) []Line {
	text := before + s.Query
	if s.Bytes > len(s.Query) {
		text += fmt.Sprintf("\n… (the first %d of %d bytes)", len(s.Query), s.Bytes)
	}
	return []Line{{Asked, text}}
}

func result(s said) []Line {
	if !s.Success {
		text := s.Error
		if s.ErrorCode != "" {
			text = strings.TrimSuffix(s.ErrorCode+": "+text, ": ")
		}
		return one(Failed, "%s", text)
	}
	text := s.Command
	switch {
	case s.StatementID != 0:
		text += fmt.Sprintf(", statement %d", s.StatementID)
	case s.Rows > 0 || counts[s.Command]:
		text += ", " + count(s.Rows, "row")
	}
	return one(Done, "%s", strings.TrimPrefix(text, ", "))
}

// counts are the commands of which no rows are worth a word too.
var counts = map[string]bool{"SELECT": true, "INSERT": true, "UPDATE": true, "DELETE": true, "MERGE": true, "COPY": true, "FETCH": true}

// parameters is how a statement was run, with a blank before: with its values
// where these were recorded.
func parameters(s said) string {
	switch {
	case len(s.Values) > 0:
		shown := make([]string, len(s.Values))
		for i, v := range s.Values {
			shown[i] = fmt.Sprintf("$%d = %s", i+1, v)
		}
		return " with " + some(shown, s.Count)
	case len(s.Types) > 0:
		return " with " + some(s.Types, s.Count)
	case s.Count > 0:
		return " with " + count(uint64(s.Count), "parameter")
	}
	return ""
}

// some are those of count that were recorded.
func some(list []string, count int) string {
	text := strings.Join(list, ", ")
	if n := count - len(list); n > 0 {
		text += fmt.Sprintf(", … and %d more", n)
	}
	return text
}

// dynamo is a request. One that was refused there is told of twice.
func dynamo(s said) []Line {
	var lines []Line
	if s.Error == "" || s.StatusCode == 0 {
		lines = asked(strings.TrimSpace(s.Operation+" "+strings.Join(s.Tables, ", "))+" ", s)
	}
	if s.Error != "" {
		text := s.Error
		if s.ErrorCode != "" {
			text = s.ErrorCode + ": " + text
		}
		lines = append(lines, Line{Failed, text})
	}
	return lines
}

// request is one to an app, or to the API of a cloud, and how that answered.
func request(s said) []Line {
	at := s.Path
	if s.RawQuery != "" {
		at += "?" + s.RawQuery
	}
	if s.CloudHost != "" {
		at = s.CloudHost + at
	}
	text := strings.TrimSpace(s.Method + " " + at)
	if s.AWSService != "" {
		text = strings.Join(slices.DeleteFunc([]string{s.AWSService, s.AWSAction, s.AWSRegion, text}, func(p string) bool { return p == "" }), " ")
	}
	if s.Upgrade != "" {
		text += " as a " + s.Upgrade
	}
	switch {
	case s.Error != "" && s.StatusCode != 0:
		return []Line{{Asked, text}, {Failed, strconv.Itoa(s.StatusCode) + ": " + s.Error}}
	case s.Error != "":
		return []Line{{Asked, text}, {Failed, s.Error}}
	case s.StatusCode >= 400:
		return []Line{{Asked, text}, {Failed, strconv.Itoa(s.StatusCode)}}
	}
	return []Line{{Asked, text}, {Done, strconv.Itoa(s.StatusCode)}}
}

func atMost(n uint32) string {
	if n == 0 {
		return ""
	}
	return ", at most " + strconv.FormatUint(uint64(n), 10)
}

func count(n uint64, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Visible writes what a terminal would obey as \xNN or \uNNNN: control
// characters but line feeds, and what turns the direction of writing. Tabs are
// four blanks.
func Visible(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\n':
			b.WriteByte('\n')
		case r == '\t':
			b.WriteString("    ")
		case r == '\r' && strings.HasPrefix(s[i+1:], "\n"): // lines of Windows
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"), r < 0x80 && unicode.IsControl(r):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
