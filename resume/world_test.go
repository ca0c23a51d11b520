package resume

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/netx/memnet"
	"teleport/types"
)

const (
	agentID = "9a6b6b1e-3c4e-4c0e-9a53-4d6f3c3d0001"
	stream  = "00112233445566778899aabbccddeeff"
)

// certificate returns a certificate of name with its key.
func certificate(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, name, key)
}

func signed(t testing.TB, name string, key crypto.Signer) *tls.Certificate {
	t.Helper()
	subject := pkix.Name{CommonName: name}
	if name, way, ok := strings.Cut(name, "/"); ok { // for one database
		subject = pkix.Name{CommonName: name, Organization: []string{way}}
	}
	x := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject}
	der, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// world is an agent that holds streams, a client, and the way between them.
type world struct {
	t      testing.TB
	holder *Holder
	served chan *Stream // streams that the service behind the holder has got

	mu      sync.Mutex
	wrap    func(net.Conn) net.Conn // what happens to a carrier on the client's side
	down    bool                    // no carrier can be dialled
	party   Party
	admit   error
	notices []Notice
	ends    []net.Conn
	work    sync.WaitGroup
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, served: make(chan *Stream, 16), party: Party{User: "alice", Cluster: "main", Client: netip.MustParseAddrPort("10.0.0.1:1"), Proxy: "p1"}}
	w.holder = NewHolder(HolderOptions{
		Agent: agentID, Generation: 3,
		Verify: func(c *x509.Certificate, _ time.Time) (*types.Identity, error) {
			id := &types.Identity{Kind: types.IdentityUser, Name: c.Subject.CommonName, Cluster: "main"}
			if len(c.Subject.Organization) > 0 {
				id.Authority.Route = &types.Route{Kind: types.KindDatabase, Name: c.Subject.Organization[0]}
			}
			return id, nil
		},
		Admit: func(*Stream, Party) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.admit
		},
		Keep: func(*Stream) time.Duration { return 10 * time.Minute },
		Observe: func(n Notice) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.notices = append(w.notices, n)
		},
	})
	return w
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// seen counts the notices of a kind.
func (w *world) seen(what What) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, x := range w.notices {
		if x.What == what {
			n++
		}
	}
	return n
}

// carrier makes a connection whose agent's end is served: opened the first time,
// attached otherwise.
func (w *world) carrier(attach bool) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return nil, errors.New("no way")
	}
	near, far := memnet.Pipe()
	w.ends = append(w.ends, near, far)
	party := w.party
	w.work.Go(func() { w.agent(far, attach, party) })
	if w.wrap != nil {
		near = w.wrap(near)
	}
	return near, nil
}

func (w *world) agent(far net.Conn, attach bool, party Party) {
	defer far.Close()
	var a *Attachment
	if attach {
		var err error
		if a, err = w.holder.Attach(far, stream, party); err != nil {
			return
		}
	} else {
		s, first, err := w.holder.Open(far, stream, "node/1", party)
		if err != nil {
			return
		}
		a = first
		w.served <- s
	}
	<-a.Done()
}

// cut closes all carriers.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.ends {
		c.Close()
	}
	w.ends = nil
}

func (w *world) options(own *tls.Certificate) ClientOptions {
	return ClientOptions{
		Subject: Subject{Stream: stream, Agent: agentID, User: "alice", Cluster: "main"}, Generation: 3, Limit: 10 * time.Minute, Certificate: own,
		Redial: func(context.Context) (net.Conn, error) { return w.carrier(true) },
	}
}

// open begins a stream and returns both ends.
func (w *world) open(o ClientOptions) (*Conn, *Stream) {
	w.t.Helper()
	nc, err := w.carrier(false)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := NewClient(nc, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return c, <-w.served
}

// close ends everything and waits for it.
func (w *world) close() {
	w.holder.AbortAll(errors.New("the test is over"))
	w.cut()
	w.work.Wait()
	w.holder.Wait()
}

// bubble runs f in virtual time with a world.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f(t, w)
		w.close()
	})
}

func echo(s net.Conn) {
	defer s.Close()
	_, _ = io.Copy(s, s)
}

// roundTrip sends a line and reads it back.
func roundTrip(t *testing.T, c net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(line))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != line {
		t.Fatalf("%q: %v", b, err)
	}
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind {
		t.Errorf("%v (%s), want %s", err, fault.KindOf(err), kind)
	}
}
