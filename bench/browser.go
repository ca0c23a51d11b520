package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
)

// browser is a person's browser, for which every name leads to the proxy.
type browser struct {
	hc *http.Client
	c  *cluster
}

func (c *cluster) browser() (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the proxy made its certificate itself, on this machine
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.proxy)
		}}
	return &browser{&http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, c}, nil
}

// nextCode is a one-time code that was not used yet.
func (c *cluster) nextCode(ctx context.Context) (string, error) {
	const step = 30 * time.Second
	at := time.Now().Truncate(step)
	if !at.After(c.coded) {
		at = c.coded.Add(step)
	}
	if ahead := time.Until(at.Add(-step)); ahead > 0 { // one step ahead is taken
		select {
		case <-time.After(ahead):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	c.coded = at
	return totp.GenerateCode(c.secret, at)
}

// signIn signs the user in at the proxy.
func (b *browser) signIn(ctx context.Context) error {
	code, err := b.c.nextCode(ctx)
	if err != nil {
		return err
	}
	return b.post(ctx, "https://"+b.c.proxy, "/webapi/sessions/web", map[string]string{"user": userName, "password": password, "otp": code}, nil)
}

// open gets a session with the app at a host, as the launcher page and the app's own
// do, and returns the cookies of it.
func (b *browser) open(ctx context.Context, host string) (string, error) {
	at := "https://" + host
	var begin, finish struct {
		URL string `json:"url"`
	}
	if err := b.post(ctx, "https://"+b.c.proxy, "/webapi/sessions/app", map[string]string{"host": host, "path": "/"}, &begin); err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, begin.URL, nil)
	if err != nil {
		return "", err
	}
	resp, err := b.hc.Do(req)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		return "", fmt.Errorf("%s answers %s: %w", begin.URL, resp.Status, err)
	}
	state := back.Query().Get("state")
	if err := b.post(ctx, "https://"+b.c.proxy, "/webapi/sessions/app", map[string]string{"host": host, "path": "/", "state": state}, &finish); err != nil {
		return "", err
	}
	_, fragment, _ := strings.Cut(finish.URL, "#")
	given, err := url.ParseQuery(fragment)
	if err != nil {
		return "", err
	}
	if err := b.post(ctx, at, "/x-teleport-auth", map[string]string{"state": given.Get("state"), "session": given.Get("session"), "path": "/"}, nil); err != nil {
		return "", err
	}
	u, err := url.Parse(at)
	if err != nil {
		return "", err
	}
	var pair []string
	for _, c := range b.hc.Jar.Cookies(u) {
		pair = append(pair, c.Name+"="+c.Value)
	}
	if len(pair) < 2 {
		return "", errors.New("the app's address sets no pair of cookies")
	}
	return strings.Join(pair, "; "), nil
}

func (b *browser) post(ctx context.Context, base, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	return b.do(req, into)
}

// do sends a request of a page of the same origin, and reads the answer into a
// value; nil drops it.
func (b *browser) do(req *http.Request, into any) error {
	req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
	resp, err := b.hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.200s", req.Method, req.URL, resp.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}
