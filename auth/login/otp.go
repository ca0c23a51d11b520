package login

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"net/url"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"teleport/types"
)

// TOTP as authenticator apps have it by default (RFC 6238): SHA-1, six digits,
// steps of 30 seconds, one step of clock difference either way.
const (
	otpPeriod = 30
	otpSkew   = 1
	otpBytes  = 20
)

// newOTPSecret makes a shared secret, in base32 without padding.
func newOTPSecret() types.Secret {
	b := make([]byte, otpBytes)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return types.NewSecret(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// otpURL is what a QR code shows to an authenticator app.
func otpURL(cluster, user string, secret types.Secret) string {
	q := url.Values{}
	q.Set("secret", secret.Reveal())
	q.Set("issuer", cluster)
	q.Set("algorithm", "SHA1")
	q.Set("digits", "6")
	q.Set("period", fmt.Sprint(otpPeriod))
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + cluster + ":" + user, RawQuery: q.Encode()}
	return u.String()
}

// matchStep returns the time step that the code belongs to, later than
// lastStep: a code that was accepted once is never accepted again, nor any
// before it. Every candidate is compared, in constant time.
func matchStep(secret, code types.Secret, lastStep int64, now time.Time) (step int64, ok bool) {
	current := now.Unix() / otpPeriod
	for s := current - otpSkew; s <= current+otpSkew; s++ {
		want, err := hotp.GenerateCodeCustom(secret.Reveal(), uint64(max(s, 0)), hotp.ValidateOpts{
			Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, false
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code.Reveal())) == 1 && s > lastStep {
			step, ok = s, true
		}
	}
	return step, ok
}

// matchDevice finds the authenticator that made the code.
func matchDevice(devices []types.OTPDevice, code types.Secret, now time.Time) (id string, step int64, ok bool) {
	for _, d := range devices {
		if s, hit := matchStep(d.Secret, code, d.LastStep, now); hit {
			id, step, ok = d.ID, s, true
		}
	}
	return id, step, ok
}
