package stolen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"teleport/client/cloudproxy"
	"teleport/client/localproxy"
	"teleport/keys"
)

// localPort is a port that tsh has opened on the person's machine for the tools of a
// cloud. Whatever certificate comes there, it is the throw-away credentials that open
// it: who has not those gets to no agent.
type localPort struct {
	t       *testing.T
	cloud   cloudproxy.Cloud
	domains []string
	api     string
	own     func(ctx context.Context, client *http.Client, r *http.Request) error // adds the credentials
	open    sync.Once
	via     *url.URL
	roots   *x509.CertPool
	passed  atomic.Int64 // connections towards the agent
}

// localPorts are of the three clouds. They open when they are first tried.
func (w *world) localPorts() map[string]*localPort {
	pair := localproxy.NewKeys()
	google := cloudproxy.Google{Secret: cloudproxy.NewSecret()}
	azure := &cloudproxy.Azure{Secret: cloudproxy.NewSecret()}
	if w.t != nil {
		key, err := keys.Generate(keys.ECDSAP256)
		must(w.t, err)
		azure.Key = key
	}
	return map[string]*localPort{
		"AWS": {t: w.t, cloud: cloudproxy.AWS{Keys: pair}, domains: cloudproxy.AWSDomains, api: "https://sts.us-east-1.amazonaws.com/",
			own: func(ctx context.Context, _ *http.Client, r *http.Request) error {
				empty := sha256.Sum256(nil)
				return v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: pair.ID, SecretAccessKey: pair.Secret}, r, hex.EncodeToString(empty[:]), "sts", "us-east-1", time.Now())
			}},
		"Azure": {t: w.t, cloud: azure, domains: cloudproxy.AzureDomains, api: "https://management.azure.com/subscriptions",
			own: func(ctx context.Context, client *http.Client, r *http.Request) error {
				ask, err := http.NewRequestWithContext(ctx, http.MethodPost, azure.Endpoint()+"?resource=https://management.azure.com/", http.NoBody)
				if err != nil {
					return err
				}
				ask.Header.Set("Metadata", "true")
				resp, err := client.Do(ask)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				var given struct {
					Token string `json:"access_token"`
				}
				err = json.NewDecoder(resp.Body).Decode(&given)
				r.Header.Set("Authorization", "Bearer "+given.Token)
				return err
			}},
		"Google Cloud": {t: w.t, cloud: google, domains: cloudproxy.GoogleDomains, api: "https://storage.googleapis.com/storage/v1/b",
			own: func(_ context.Context, _ *http.Client, r *http.Request) error {
				r.Header.Set("Authorization", "Bearer "+google.Secret)
				return nil
			}},
	}
}

// serve opens the port until the test ends, before an agent that answers everything.
func (p *localPort) serve() {
	t := p.t
	authority, err := cloudproxy.NewAuthority(p.domains)
	must(t, err)
	ln, err := localproxy.Listen(t.Context(), "0")
	must(t, err)
	p.via, p.roots = &url.URL{Scheme: "http", Host: ln.Addr().String()}, x509.NewCertPool()
	p.roots.AppendCertsFromPEM(authority.PEM())
	agent := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
	behind, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	proxy := cloudproxy.New(cloudproxy.Options{Cloud: p.cloud, Authority: authority, Dial: func(ctx context.Context) (net.Conn, error) {
		p.passed.Add(1)
		return (&net.Dialer{}).DialContext(ctx, "tcp", behind.Addr().String())
	}})
	var both sync.WaitGroup
	both.Go(func() { _ = agent.Serve(behind) })
	both.Go(func() { _ = proxy.Serve(ctx, ln) })
	t.Cleanup(func() { cancel(); agent.Close(); both.Wait() })
}

// try asks for something of the cloud with a certificate, and with no more or with the
// throw-away credentials too.
func (p *localPort) try(ctx context.Context, c credential, own bool) error {
	p.open.Do(p.serve)
	conf := c.tlsConfig("http/1.1")
	conf.InsecureSkipVerify, conf.RootCAs, conf.MinVersion = false, p.roots, tls.VersionTLS12
	tr := &http.Transport{Proxy: http.ProxyURL(p.via), TLSClientConfig: conf}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.api, http.NoBody)
	if err != nil {
		return err
	}
	if own {
		if err := p.own(ctx, client, r); err != nil {
			return err
		}
	}
	before := p.passed.Load()
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusTeapot:
		return nil
	case p.passed.Load() != before:
		p.t.Errorf("%s was refused, and reached the agent all the same", c.name)
	}
	return errors.New(resp.Status + " " + string(bytes.TrimSpace(text)))
}

// TestThrowAwayCredentialsOpenOneCloud: who holds those of one local port enters by
// that one, and by no other, nor by another's of the same cloud.
func TestThrowAwayCredentialsOpenOneCloud(t *testing.T) {
	w := &world{t: t}
	mine, others := w.localPorts(), w.localPorts()
	for cloud, port := range mine {
		if err := port.try(t.Context(), credential{name: "the owner"}, true); err != nil {
			t.Errorf("the owner at %s: %v", cloud, err)
		}
		thief := &localPort{t: t, cloud: port.cloud, domains: port.domains, api: port.api, own: others[cloud].own}
		if cloud == "Azure" { // a token is got at the port of the one, and shown at the other's
			token := http.Header{}
			must(t, others[cloud].take(t.Context(), token))
			thief.own = func(_ context.Context, _ *http.Client, r *http.Request) error {
				r.Header.Set("Authorization", token.Get("Authorization"))
				return nil
			}
		}
		if err := thief.try(t.Context(), credential{name: "a thief"}, true); err == nil {
			t.Errorf("the credentials of another port open that of %s", cloud)
		}
	}
}

// take gets credentials at a port, as its owner does.
func (p *localPort) take(ctx context.Context, into http.Header) error {
	p.open.Do(p.serve)
	tr := &http.Transport{Proxy: http.ProxyURL(p.via), TLSClientConfig: &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}}
	defer tr.CloseIdleConnections()
	return p.own(ctx, &http.Client{Transport: tr}, &http.Request{Header: into})
}
