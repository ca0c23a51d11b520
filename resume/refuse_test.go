package resume

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
)

// claim speaks the client's part of an attach by hand.
func claim(t *testing.T, w *world, forge func(nonce [32]byte) []byte) (answer frame, payload []byte) {
	t.Helper()
	nc, err := w.carrier(true)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	k := newCarrier(nc)
	var ask challenge
	if err := k.expect(&ask); err != nil {
		return frame{kind: kindRefused}, []byte(err.Error())
	}
	if _, err := k.Write(forge(ask.nonce)); err != nil {
		t.Fatal(err)
	}
	if answer, err = readFrame(k.r); err != nil {
		t.Fatal(err)
	}
	payload = make([]byte, answer.length)
	if _, err := io.ReadFull(k.r, payload); err != nil {
		t.Fatal(err)
	}
	return answer, payload
}

// TestWhoMayNotGoOnIsRefused: each attempt but the right one is refused, told to
// the observer, and leaves the carrier of the rightful client alone.
func TestWhoMayNotGoOnIsRefused(t *testing.T) {
	signed := func(key ed25519.PrivateKey, m attachment, change func(*Subject)) func([32]byte) []byte {
		return func(nonce [32]byte) []byte {
			s := Subject{Stream: stream, Agent: agentID, User: "alice", Cluster: "main"}
			if change != nil {
				change(&s)
			}
			m.sign(key, s, nonce)
			b, err := appendMessage(&m)
			if err != nil {
				panic(err)
			}
			return b
		}
	}
	right := attachment{generation: 3, received: 5, base: 5, next: 5}
	with := func(f func(*attachment)) attachment { m := right; f(&m); return m }
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var replay []byte
	for name, tc := range map[string]struct {
		prepare func(w *world)
		forge   func(key ed25519.PrivateKey) func([32]byte) []byte
		want    string
	}{
		"another user": {func(w *world) { w.party.User = "mallory" },
			func(k ed25519.PrivateKey) func([32]byte) []byte { return signed(k, right, nil) }, "somebody else"},
		"same name of another cluster": {func(w *world) { w.party.Cluster = "leaf" },
			func(k ed25519.PrivateKey) func([32]byte) []byte { return signed(k, right, nil) }, "somebody else"},
		"wrong key": {nil,
			func(ed25519.PrivateKey) func([32]byte) []byte { return signed(stranger, right, nil) }, "did not sign"},
		"signature for another stream": {nil,
			func(k ed25519.PrivateKey) func([32]byte) []byte {
				return signed(k, right, func(s *Subject) { s.Stream = "other" })
			}, "did not sign"},
		"signature for another agent": {nil,
			func(k ed25519.PrivateKey) func([32]byte) []byte {
				return signed(k, right, func(s *Subject) { s.Agent = "other" })
			}, "did not sign"},
		"positions changed under the signature": {nil,
			func(k ed25519.PrivateKey) func([32]byte) []byte {
				return func(n [32]byte) []byte {
					b := signed(k, right, nil)(n)
					b[headerLen+1+8+7]++
					return b
				}
			}, "did not sign"},
		"another generation": {nil,
			func(k ed25519.PrivateKey) func([32]byte) []byte {
				return signed(k, with(func(m *attachment) { m.generation = 2 }), nil)
			}, "generation 3"},
		"received from the future": {nil,
			func(k ed25519.PrivateKey) func([32]byte) []byte {
				return signed(k, with(func(m *attachment) { m.received = 6 }), nil)
			}, "received up to 6"},
		"received from the past": {nil,
			func(k ed25519.PrivateKey) func([32]byte) []byte {
				return signed(k, with(func(m *attachment) { m.received = 4 }), nil)
			}, "received up to 4"},
		"sent in the future": {nil,
			func(k ed25519.PrivateKey) func([32]byte) []byte {
				return signed(k, with(func(m *attachment) { m.base, m.next = 6, 9 }), nil)
			}, "6 to 9"},
		"refused by the policy": {func(w *world) { w.admit = fault.New(fault.Denied, "you are locked") },
			func(k ed25519.PrivateKey) func([32]byte) []byte { return signed(k, right, nil) }, "locked"},
		"replayed": {func(w *world) {},
			func(k ed25519.PrivateKey) func([32]byte) []byte {
				return func(n [32]byte) []byte {
					if replay == nil {
						replay = signed(k, right, nil)([32]byte{1})
					}
					return replay
				}
			}, "did not sign"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				nc, err := w.carrier(false)
				if err != nil {
					t.Fatal(err)
				}
				k := newCarrier(nc)
				key, m, err := bind(certificate(t, "alice"), Subject{Stream: stream, Agent: agentID, User: "alice", Cluster: "main"})
				if err != nil {
					t.Fatal(err)
				}
				if err := k.say(m); err != nil {
					t.Fatal(err)
				}
				s := <-w.served
				go echo(s)
				hello(t, k)
				if tc.prepare != nil {
					w.set(func() { tc.prepare(w) })
				}
				answer, payload := claim(t, w, tc.forge(key))
				if answer.kind != kindRefused || !strings.Contains(string(payload), tc.want) {
					t.Errorf("the answer is %d %q", answer.kind, payload)
				}
				synctest.Wait()
				if w.seen(Refused) != 1 || w.seen(Detached) != 0 {
					t.Errorf("%d refusals, %d detached", w.seen(Refused), w.seen(Detached))
				}
			})
		})
	}
}

// hello sends five bytes and reads them back by hand, so that both positions are
// at 5 and acknowledged.
func hello(t *testing.T, k *carrier) {
	t.Helper()
	b := make([]byte, headerLen, headerLen+5)
	frame{kind: kindData, length: 5}.put(b)
	if _, err := k.Write(append(b, "hello"...)); err != nil {
		t.Fatal(err)
	}
	f, err := readFrame(k.r)
	if err != nil || f.kind != kindData || f.ack != 5 {
		t.Fatalf("%+v: %v", f, err)
	}
	if _, err := k.payload(f); err != nil {
		t.Fatal(err)
	}
	frame{kind: kindAck, seq: 5, ack: 5}.put(b)
	if _, err := k.Write(b); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// TestOpeningIsBoundToTheIdentity: the fresh key must be signed by the
// certificate of who came through the gate.
func TestOpeningIsBoundToTheIdentity(t *testing.T) {
	alice := Subject{Stream: stream, Agent: agentID, User: "alice", Cluster: "main"}
	for name, tc := range map[string]struct {
		forge func(t *testing.T) *opening
		want  fault.Kind
	}{
		"another's certificate":          {func(t *testing.T) *opening { return bound(t, "mallory", alice) }, fault.Denied},
		"a certificate for one database": {func(t *testing.T) *opening { return bound(t, "alice/shop", alice) }, fault.Denied},
		"for another stream": {func(t *testing.T) *opening {
			return bound(t, "alice", Subject{Stream: "other", Agent: agentID, User: "alice", Cluster: "main"})
		}, fault.Untrusted},
		"another key": {func(t *testing.T) *opening { m := bound(t, "alice", alice); m.key[0]++; return m }, fault.Untrusted},
		"a stolen certificate": {func(t *testing.T) *opening {
			m := bound(t, "mallory", alice)
			m.certificate = certificate(t, "alice").Certificate[0]
			return m
		}, fault.Untrusted},
		"no certificate": {func(t *testing.T) *opening {
			m := bound(t, "alice", alice)
			m.certificate = []byte("rubbish")
			return m
		}, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				nc, err := w.carrier(false)
				if err != nil {
					t.Fatal(err)
				}
				k := newCarrier(nc)
				if err := k.say(tc.forge(t)); err != nil {
					t.Fatal(err)
				}
				wantKind(t, k.expect(&attached{}), tc.want)
				if w.holder.Len() != 0 {
					t.Error("a stream is kept")
				}
			})
		})
	}
}

// TestSortsOfKeysThatOpen: whatever sort of key a certificate has, it binds; RSA with
// SHA-1 does not.
func TestSortsOfKeysThatOpen(t *testing.T) {
	alice := Subject{Stream: stream, Agent: agentID, User: "alice", Cluster: "main"}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range []*tls.Certificate{certificate(t, "alice"), signed(t, "alice", ed), signed(t, "alice", rsaKey)} {
		_, m, err := bind(own, alice)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := m.bound(alice); err != nil || c.Subject.CommonName != "alice" {
			t.Errorf("%T: %v", own.PrivateKey, err)
		}
	}
	own := signed(t, "alice", rsaKey)
	_, m, err := bind(own, alice)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := signer.Sign(rand.Reader, openStatement(alice, m.key))
	if err != nil || weak.Format != ssh.KeyAlgoRSA {
		t.Fatalf("%v %s", err, weak.Format)
	}
	m.signature = ssh.Marshal(weak)
	if _, err := m.bound(alice); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("SHA-1: %v", err)
	}
}

func bound(t *testing.T, name string, s Subject) *opening {
	t.Helper()
	_, m, err := bind(certificate(t, name), s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestOneCarrierAtATime: a client that comes over a second carrier moves there,
// and not a byte is taken from the first any more.
func TestOneCarrierAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c, s := w.open(w.options(certificate(t, "alice")))
		go echo(s)
		roundTrip(t, c, "hello")
		c.mu.Lock()
		first := c.k
		c.mu.Unlock()
		c.leave(first, net.ErrClosed)
		roundTrip(t, c, "over the second")
		select {
		case <-first.gone:
		default:
			t.Error("the first carrier is in use")
		}
		c.Close()
	})
}

func TestASilentStrangerHoldsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if _, err := w.carrier(false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(HandshakeTimeout + time.Second)
		if w.holder.Len() != 0 {
			t.Error("a stream is kept")
		}
	})
}

func TestOffersAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.holder.o.PerUser = 1
		if !w.holder.Offers("alice", "main") {
			t.Error("no offer to the first")
		}
		c, _ := w.open(w.options(certificate(t, "alice")))
		if w.holder.Offers("alice", "main") || !w.holder.Offers("bob", "main") {
			t.Error("the bound is not by user")
		}
		c.Close()
	})
}

// TestAFinishedStreamGivesWay: what its service has closed and no client fetches
// keeps nobody from a stream, as after a lock that cut a hundred sessions.
func TestAFinishedStreamGivesWay(t *testing.T) {
	for _, full := range []func(*HolderOptions){func(o *HolderOptions) { o.PerUser = 1 }, func(o *HolderOptions) { o.Total = 1 }} {
		bubble(t, func(t *testing.T, w *world) {
			full(&w.holder.o)
			c, s := w.open(w.options(certificate(t, "alice")))
			defer c.Close()
			w.set(func() { w.down = true })
			w.cut()
			synctest.Wait()
			if w.holder.Offers("alice", "main") {
				t.Error("a stream in use gives way")
			}
			s.Close()
			synctest.Wait()
			if w.holder.Len() != 1 {
				t.Error("a finished stream does not wait for its client")
			}
			if !w.holder.Offers("alice", "main") || w.holder.Len() != 0 {
				t.Error("a finished stream does not give way")
			}
		})
	}
}
