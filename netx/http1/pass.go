package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"

	"teleport/fault"
	"teleport/netx"
)

// Early is told of an answer before the final one: its status, 1xx, and its fields,
// which are its own from then on. An error ends the request.
type Early func(status int, h http.Header) error

// Over has an http.RoundTripper tell of early answers, for Hop.Send.
func Over(rt http.RoundTripper, r *http.Request, early Early) (*http.Response, error) {
	trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error { return early(status, http.Header(h)) }}
	return rt.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
}

// Hop passes requests on and brings their answers back. Safe for concurrent use
// where its functions are.
type Hop struct {
	// Send gets the answer of a request that has been made for the other side, and
	// tells of early ones before it.
	Send func(out *http.Request, early Early) (*http.Response, error)
	// Look may change the head of an answer before it goes to the client, in which
	// nothing of the connection is left. An error is returned by Pass.
	Look func(resp *http.Response) error
}

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// Pass sends out and copies the answer to w: its early hints, head, body as it comes,
// and trailers; or it becomes a relay between the two where both sides want another
// protocol. An error means that w has not been written to. An answer that breaks off
// ends with a panic of http.ErrAbortHandler, as net/http has it.
func (h *Hop) Pass(w http.ResponseWriter, out *http.Request) error {
	early := &hints{w: w}
	if out.ContentLength == 0 { // HTTP/2 has a body that is empty
		out.Body = http.NoBody
	}
	resp, err := h.Send(out, early.pass)
	early.end()
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	up := Upgrade(resp.Header)
	if resp.StatusCode == http.StatusSwitchingProtocols && (up == "" || !strings.EqualFold(up, Upgrade(out.Header))) {
		return badAnswer("it changes to a protocol that nobody asked for")
	}
	StripHop(resp.Header)
	if err := h.Look(resp); err != nil {
		return err
	}
	if err := context.Cause(out.Context()); err != nil { // it was cut in this moment
		return err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return relay(out.Context(), w, resp, up)
	}
	adopt(w, resp.Header)
	for name := range resp.Trailer {
		w.Header().Add("Trailer", name)
	}
	w.WriteHeader(resp.StatusCode)
	if resp.Body != http.NoBody {
		flush := http.NewResponseController(w).Flush
		err := error(nil)
		if later(resp) { // a page may wait to hear that its events will come
			err = flush()
		}
		if err == nil {
			_, err = copyBody(w, resp.Body, flush)
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	for name, values := range resp.Trailer {
		w.Header()[http.TrailerPrefix+name] = values
	}
	return nil
}

// adopt makes h, which is w's from then on, the header of an answer; what w has besides
// stays.
func adopt(w http.ResponseWriter, h http.Header) {
	switch w := w.(type) {
	case *response:
		for name, values := range w.h {
			if _, has := h[name]; !has {
				h[name] = values
			}
		}
		w.h = h
	case *patientWriter:
		adopt(w.ResponseWriter, h)
	default:
		maps.Copy(w.Header(), h)
	}
}

// later reports whether the body of an answer has not begun with its head.
func later(resp *http.Response) bool {
	if ahead, ok := resp.Body.(interface{ more() bool }); ok {
		return !ahead.more()
	}
	return resp.ContentLength < 0
}

// hinted are the fields of early answers that go on: what browsers begin to load by.
// Nobody looks at the others, which could say what Look takes out of an answer.
var hinted = []string{"Link", "Content-Security-Policy", "Referrer-Policy", "Cross-Origin-Embedder-Policy"}

// hints passes early answers on (RFC 8297); 100 is between two neighbours.
type hints struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	over bool
}

func (x *hints) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
}

func (x *hints) pass(status int, early http.Header) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || status == http.StatusContinue {
		return nil
	}
	before := maps.Clone(x.w.Header())
	for _, name := range hinted {
		if values := early[name]; len(values) > 0 {
			x.w.Header()[name] = values
		}
	}
	x.w.WriteHeader(status)
	clear(x.w.Header())
	maps.Copy(x.w.Header(), before)
	return nil
}

// copyBody copies a body through lent memory. Where nothing more is at hand, what
// was copied is flushed: an event goes on when it comes.
func copyBody(to io.Writer, from io.Reader, flush func() error) (int64, error) {
	p := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(p)
	ahead, _ := from.(interface{ more() bool })
	var total int64
	for {
		n, err := from.Read(p[:])
		if n > 0 {
			if _, werr := to.Write(p[:n]); werr != nil {
				return total, werr
			}
			total += int64(n)
		}
		switch {
		case errors.Is(err, io.EOF):
			return total, nil
		case err != nil:
			return total, err
		}
		if flush != nil && (ahead == nil || !ahead.more()) {
			if err := flush(); err != nil {
				return total, err
			}
		}
	}
}

// relay has the two sides speak what they have changed to, until one of them ends or
// ctx does.
func relay(ctx context.Context, w http.ResponseWriter, resp *http.Response, up string) error {
	far, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return fault.New(fault.Internal, "a connection cannot change its protocol")
	}
	near, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the connection of the client cannot change its protocol")
	}
	defer near.Close()
	h := http.Header{}
	maps.Copy(h, w.Header())
	maps.Copy(h, resp.Header)
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{up}
	b := append(rw.AvailableBuffer(), "HTTP/1.1 101 Switching Protocols\r\n"...)
	_, _ = rw.Write(append(appendFields(b, h, resp.StatusCode), "\r\n"...)) // what fails, the flush reports
	if rw.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
	_ = netx.Splice(ctx, &hijacked{near, rw.Reader}, far, netx.SpliceOptions{}) // either side may end it
	return nil
}

// hijacked is a client's connection with what was read ahead of it.
type hijacked struct {
	io.ReadWriteCloser
	br *bufio.Reader
}

func (h *hijacked) Read(p []byte) (int, error) { return h.br.Read(p) }
