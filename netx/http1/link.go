package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"teleport/fault"
)

// link is a connection to the other side.
type link struct {
	client *Client
	nc     net.Conn
	br     *bufio.Reader
	used   time.Time // since when it is idle
	again  bool      // it has had a request before
	age    int       // how often the client had been renewed when it was dialled
	soon   *time.Timer

	mu       sync.Mutex
	answered bool            // or nothing is asked
	ctx      context.Context // of the request; nil: there is none
	stop     func() bool     // stops listening to it; nil: nobody listens yet
}

func newLink(c *Client, nc net.Conn, age int) *link {
	l := &link{client: c, nc: nc, age: age, br: readers.Get().(*bufio.Reader)}
	l.br.Reset(nc)
	l.soon = time.AfterFunc(listenAfter, l.listen)
	return l
}

// listenAfter is when an exchange begins to listen for the end of its context: most
// are over by then, and listening costs as much as reading the answer.
const listenAfter = 10 * time.Millisecond

// begin has the end of ctx close the connection, until over is called.
func (l *link) begin(ctx context.Context) {
	l.mu.Lock()
	l.answered, l.ctx = false, ctx
	l.mu.Unlock()
	l.soon.Reset(listenAfter)
}

func (l *link) listen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx != nil && l.stop == nil {
		l.stop = context.AfterFunc(l.ctx, func() { l.nc.Close() })
	}
}

// over reports whether the connection was left open.
func (l *link) over() bool {
	l.soon.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	stop := l.stop
	l.ctx, l.stop = nil, nil
	return stop == nil || stop()
}

// close closes a connection that nobody reads from.
func (l *link) close() {
	l.nc.Close()
	if l.br != nil {
		l.br.Reset(nil)
		readers.Put(l.br)
		l.br = nil
	}
}

// drop closes a connection whose request has failed; somebody may still hold it.
func (l *link) drop() {
	l.over()
	l.nc.Close()
}

// exchange sends a request and reads the head of its answer. begun reports whether
// anything of an answer came, or the body may have been read from.
func (l *link) exchange(r *http.Request, early Early) (resp *http.Response, begun bool, err error) {
	l.begin(r.Context())
	sent, err := l.send(r)
	if err != nil {
		return nil, hasBody(r), err
	}
	if sent == nil {
		if err := l.expect(); err != nil {
			return nil, false, err
		}
	}
	resp, begun, err = l.answer(r, early)
	if err == nil {
		err = l.heard()
	}
	if err == nil {
		return l.withBody(resp, r, sent), true, nil
	}
	select {
	case serr := <-sent: // may be why there is no answer
		if serr != nil && !begun {
			err = serr
		}
	default:
	}
	return nil, begun, err
}

// expect begins the wait for the answer, once all of a request is sent.
func (l *link) expect() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answered || l.client.AnswerTimeout <= 0 {
		return nil
	}
	return l.nc.SetReadDeadline(time.Now().Add(l.client.AnswerTimeout))
}

// heard ends it.
func (l *link) heard() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered = true
	if l.client.AnswerTimeout <= 0 {
		return nil
	}
	return l.nc.SetReadDeadline(time.Time{})
}

// send writes a request. Its body, where it has one, goes on by itself: sent tells
// when it is over.
func (l *link) send(r *http.Request) (sent chan error, err error) {
	p := heads.Get().(*[]byte)
	b, err := appendRequest((*p)[:0], r)
	if err == nil {
		_, err = l.nc.Write(b)
	}
	*p = b[:0]
	heads.Put(p)
	if err != nil || !hasBody(r) {
		return nil, err
	}
	sent = make(chan error, 1)
	announced := slices.Collect(maps.Keys(r.Trailer))
	go func() { // ends with the body, or the connection
		from := &tracked{Reader: r.Body}
		err := l.sendBody(r, from, announced)
		if err == nil {
			err = l.expect()
		}
		sent <- err
		if from.failed { // the client's side: nobody answers half of a request, and this is why
			l.nc.Close()
		}
	}()
	return sent, nil
}

// appendRequest writes the head of a request.
func appendRequest(b []byte, r *http.Request) ([]byte, error) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	target := r.URL.RequestURI()
	if !isToken(r.Method) || !all(host, &hostBytes) || !isTarget(target) {
		return b, malformed("the request cannot be written")
	}
	b = append(append(append(b, r.Method...), ' '), target...)
	b = append(append(append(b, " HTTP/1.1\r\nHost: "...), host...), "\r\n"...)
	for name, values := range r.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		}
		if !isToken(name) {
			return b, malformed("a header of the request has no name")
		}
		for _, v := range values {
			b = appendField(b, name, v)
		}
	}
	switch {
	case hasBody(r) && r.ContentLength <= 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		for name := range r.Trailer {
			b = appendField(b, "Trailer", name)
		}
	case r.ContentLength > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), max(r.ContentLength, 0), 10), "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// isTarget reports whether a target stays within its line.
func isTarget(target string) bool {
	for i := range len(target) {
		if target[i] <= ' ' || target[i] == 0x7f {
			return false
		}
	}
	return target != ""
}

// tracked tells whether it was the reading that failed.
type tracked struct {
	io.Reader
	failed bool
}

func (t *tracked) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.failed = t.failed || err != nil && !errors.Is(err, io.EOF)
	return n, err
}

// sendBody writes the body of a request, which it reads by from, and closes it; then
// what trails it, of what the head has announced.
func (l *link) sendBody(r *http.Request, from *tracked, trails []string) (err error) {
	defer func() { err = errors.Join(err, r.Body.Close()) }()
	if r.ContentLength > 0 {
		n, err := copyBody(together{l.nc}, from, nil)
		if err == nil && n != r.ContentLength {
			from.failed = true
			err = fault.New(fault.Invalid, "the body of the request has %d bytes, not %d", n, r.ContentLength)
		}
		return err
	}
	w := writers.Get().(*bufio.Writer)
	w.Reset(together{l.nc})
	defer func() { w.Reset(nil); writers.Put(w) }()
	_, err = copyBody(chunks{w}, from, nil)
	if err != nil {
		return err
	}
	_, _ = w.WriteString("0\r\n") // what fails, the flush reports
	b := w.AvailableBuffer()
	for _, name := range trails {
		for _, v := range r.Trailer[name] {
			b = appendField(b, name, v)
		}
	}
	_, _ = w.Write(append(b, "\r\n"...))
	return w.Flush()
}

// chunks writes each piece as a chunk.
type chunks struct{ w *bufio.Writer }

func (c chunks) Write(p []byte) (int, error) {
	_, _ = fmt.Fprintf(c.w, "%x\r\n", len(p)) // what fails, the flush reports
	_, _ = c.w.Write(p)
	_, _ = c.w.WriteString("\r\n")
	return len(p), c.w.Flush()
}

// answer reads heads up to that of the final answer.
func (l *link) answer(r *http.Request, early Early) (*http.Response, bool, error) {
	for n := 0; ; n++ {
		if n == 0 {
			runtime.Gosched() // where others have work, the answer is there after it, and nobody waits
			if _, err := l.br.Peek(1); err != nil {
				return nil, false, ended(err)
			}
		}
		text, err := readHead(l.br, l.client.MaxHead)
		if err != nil {
			return nil, true, ended(err)
		}
		resp, err := parseResponse(text, r)
		if err != nil {
			return nil, true, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, true, nil
		}
		if n > 10 {
			return nil, true, badAnswer("it does not begin")
		}
		if early != nil {
			if err := early(resp.StatusCode, resp.Header); err != nil {
				return nil, true, err
			}
		}
	}
}

// ended says what the end of a connection means for who waits for an answer.
func ended(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, errTooLarge):
		return badAnswer("its head is too large")
	}
	return err
}

// withBody gives an answer its body.
func (l *link) withBody(resp *http.Response, r *http.Request, sent chan error) *http.Response {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = &upgraded{l}
		return resp
	}
	a := &answerBody{l: l, sent: sent, keep: !resp.Close}
	switch {
	case bodiless(r.Method, resp.StatusCode):
		a.body = lengthBody(l.br, 0)
	case len(resp.TransferEncoding) > 0:
		a.body = chunkedBody(l.br, &resp.Trailer)
	case resp.ContentLength >= 0:
		a.body = lengthBody(l.br, resp.ContentLength)
	default:
		a.body = restBody(l.br)
	}
	resp.Body = a
	if a.body.over() {
		resp.Body = http.NoBody
		a.finish()
	}
	return resp
}

// answerBody is the body of an answer; its end gives the connection back. It is for
// one goroutine.
type answerBody struct {
	*body
	l    *link
	sent chan error // of the request's body; nil: it has none
	keep bool
	done bool
}

// Read implements io.Reader.
func (a *answerBody) Read(p []byte) (int, error) {
	if a.done {
		return 0, a.err
	}
	n, err := a.body.Read(p)
	if err != nil {
		a.finish()
	}
	return n, err
}

// more reports whether the next read has something at once.
func (a *answerBody) more() bool { return a.err == nil && a.body.more() }

// finish gives the connection back where it is good for another request.
func (a *answerBody) finish() {
	a.done = true
	good := a.keep && a.over() && a.br.Buffered() == 0
	if a.sent != nil {
		select {
		case err := <-a.sent:
			good = good && err == nil
		default:
			good = false
		}
	}
	if !a.l.over() || !good {
		a.l.drop()
		return
	}
	a.l.client.keep(a.l)
}

// Close implements io.Closer.
func (a *answerBody) Close() error {
	if !a.done {
		a.done, a.err = true, http.ErrBodyReadAfterClose
		a.l.drop()
	}
	return nil
}

// upgraded is a connection that speaks another protocol now.
type upgraded struct{ l *link }

func (u *upgraded) Read(p []byte) (int, error)  { return u.l.br.Read(p) }
func (u *upgraded) Write(p []byte) (int, error) { return u.l.nc.Write(p) }

func (u *upgraded) Close() error {
	u.l.over()
	return u.l.nc.Close()
}
