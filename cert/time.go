package cert

import (
	"time"

	"teleport/fault"
)

// CheckTime refuses a certificate that is not valid yet or no longer:
// fault.Unauthenticated with the hint that fits.
func CheckTime(notBefore, notAfter, now time.Time) error {
	switch {
	case now.Before(notBefore):
		return fault.New(fault.Unauthenticated, "the certificate is not valid before %s", notBefore.UTC().Format(time.RFC3339)).
			WithHint("compare the clocks of this machine and of the auth service")
	case !now.Before(notAfter):
		return fault.New(fault.Unauthenticated, "the certificate expired at %s", notAfter.UTC().Format(time.RFC3339)).
			WithHint("log in again, or let the host renew; if it should still be valid, compare the clocks")
	}
	return nil
}
