package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/pquerna/otp/totp"
)

// period is how long a one-time code is shown; each is accepted once.
const period = 30 * time.Second

// authenticator makes one-time codes, as the app on a phone does. Codes are
// accepted in order only: it never gives one of the same or an earlier step
// again. Safe for concurrent use.
type authenticator struct {
	mu     sync.Mutex
	secret string
	last   time.Time // the step of the code that was given last
}

// code returns the oldest code that is accepted now. One is accepted for a step
// before and after its own, so it need not wait for the next.
func (a *authenticator) code(now time.Time) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	step := now.Add(2 * time.Second).Truncate(period).Add(-period) // not one about to lapse
	if !step.After(a.last) {
		step = a.last.Add(period)
	}
	if step.After(now.Add(period)) {
		return "", fmt.Errorf("the codes of now are used; the next one is due in %s", step.Sub(now.Add(period)).Round(time.Second))
	}
	a.last = step
	return totp.GenerateCode(a.secret, step)
}

// acceptInvite does what the page behind an invite link does, and returns the
// authenticator that it set up.
func acceptInvite(ctx context.Context, link, password string) (*authenticator, string, error) {
	u, err := url.Parse(link)
	if err != nil {
		return nil, "", err
	}
	origin := "https://" + u.Host
	api := origin + "/webapi/invites/" + u.Path[len("/web/invite/"):]
	// The proxy's certificate is self-signed: the demo has just made it.
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer c.CloseIdleConnections()
	var invite struct {
		OTPSecret string `json:"otp_secret"`
		OTPURL    string `json:"otp_url"`
	}
	if err := ask(ctx, c, http.MethodGet, api, origin, nil, &invite); err != nil {
		return nil, "", err
	}
	a := &authenticator{secret: invite.OTPSecret}
	code, err := a.code(time.Now())
	if err != nil {
		return nil, "", err
	}
	return a, invite.OTPURL, ask(ctx, c, http.MethodPost, api, origin, map[string]string{"password": password, "otp": code}, nil)
}

// ask makes one request as a page of this origin makes it.
func ask(ctx context.Context, c *http.Client, method, address, origin string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", origin)
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, req.URL.Path, resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
