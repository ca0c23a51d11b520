package output

import (
	"time"

	"github.com/spf13/pflag"

	"teleport/fault"
)

// TimeRange is a span of time as people give it in flags.
type TimeRange struct {
	From, To, Last string
}

// Flags adds --from-utc, --to-utc and --last.
func (r *TimeRange) Flags(f *pflag.FlagSet) {
	f.StringVar(&r.From, "from-utc", "", "from this time: 2026-01-31 or 2026-01-31T12:00:00Z")
	f.StringVar(&r.To, "to-utc", "", "to this time")
	f.StringVar(&r.Last, "last", "", "the last 30m, 24h …")
}

// Parse returns the span; zero times are open ends. otherwise is how far back it
// goes where nothing was said.
func (r TimeRange) Parse(now time.Time, otherwise time.Duration) (from, to time.Time, err error) {
	if from, err = ParseTime(r.From); err != nil {
		return from, to, err
	}
	if to, err = ParseTime(r.To); err != nil {
		return from, to, err
	}
	last := otherwise
	switch {
	case r.Last != "" && r.From != "":
		return from, to, fault.New(fault.Invalid, "--last and --from-utc do not go together")
	case r.Last != "":
		if last, err = time.ParseDuration(r.Last); err != nil || last <= 0 {
			return from, to, fault.New(fault.Invalid, "--last %q is not a duration like 30m or 24h", r.Last)
		}
	case r.From != "" || r.To != "":
		last = 0
	}
	if last > 0 {
		from = now.Add(-last)
	}
	if !to.IsZero() && !from.Before(to) {
		return from, to, fault.New(fault.Invalid, "the time to search ends before it begins")
	}
	return from, to, nil
}

// ParseTime reads a time in UTC as people write it; "" is the zero time.
func ParseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "%q is not a time", s).WithHint("Write 2026-01-31 or 2026-01-31T12:00:00Z.")
}

// UnixNano is what the API takes for a time: zero for the zero time.
func UnixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
