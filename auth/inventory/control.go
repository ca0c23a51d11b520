package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"

	"teleport/api/gen/presencev1"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// Bounds of what one process may announce.
const (
	maxAnnounced = 1000
	maxText      = 255
)

// Stream is the server's end of a control stream. Receive returns an error when
// the peer is gone or ctx of the call ended.
type Stream interface {
	Send(*presencev1.ControlResponse) error
	Receive() (*presencev1.ControlRequest, error)
}

var (
	errSuperseded = fault.New(fault.Conflict, "a newer connection of this process has taken over")
	errSilent     = fault.New(fault.Timeout, "the process did not ping within its lease")
)

// docKey names a document that a process announced.
type docKey struct{ kind, name string }

// control is one stream.
type control struct {
	inv   *Inventory
	id    *types.Identity
	addr  netip.AddrPort
	key   streamKey
	hello *presencev1.Hello
	epoch uint64

	sendMu sync.Mutex
	stream Stream
	kicked chan error
	again  chan struct{} // look at the refused documents again

	written map[docKey][]byte // announced documents as last written
	refused map[docKey][]byte // documents whose name was taken
	names   []string          // of the node that was written

	live sessionSet // guarded by inv.mu
}

// Control serves one stream until the peer is gone, silent, superseded or says
// goodbye. The identity is the verified one of the connection.
func (i *Inventory) Control(ctx context.Context, id *types.Identity, addr netip.AddrPort, stream Stream) error {
	if id == nil || id.Kind != types.IdentityHost {
		return fault.New(fault.Denied, "only a process of the cluster holds a control stream")
	}
	c := &control{inv: i, id: id, addr: addr, stream: stream, kicked: make(chan error, 1), again: make(chan struct{}, 1),
		written: map[docKey][]byte{}, refused: map[docKey][]byte{}, live: sessionSet{written: map[string][]byte{}}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages := make(chan received)
	go c.read(ctx, messages)
	if err := c.open(ctx, messages); err != nil {
		return err
	}
	bye, err := c.run(ctx, messages)
	closeErr := c.close(context.WithoutCancel(ctx), bye, err)
	if err == nil || errors.Is(err, io.EOF) {
		return closeErr
	}
	return err
}

type received struct {
	message *presencev1.ControlRequest
	err     error
}

// read feeds messages to the stream's loop. It ends with the stream: when the
// handler returns, the transport unblocks Receive.
func (c *control) read(ctx context.Context, out chan<- received) {
	for {
		m, err := c.stream.Receive()
		select {
		case out <- received{m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// open waits for Hello, files the stream and answers Welcome.
func (c *control) open(ctx context.Context, messages <-chan received) error {
	var hello *presencev1.Hello
	timer := time.NewTimer(c.inv.d.Ping)
	defer timer.Stop()
	select {
	case r := <-messages:
		if r.err != nil {
			return r.err
		}
		hello = r.message.GetHello()
	case <-timer.C:
		return errSilent
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := c.checkHello(hello); err != nil {
		return err
	}
	c.hello = hello
	c.key = streamKey{c.id.Name, hello.Generation}
	if err := c.register(ctx); err != nil {
		return err
	}
	return c.send(&presencev1.ControlResponse{Message: &presencev1.ControlResponse_Welcome{Welcome: &presencev1.Welcome{
		AuthId: c.inv.self, Epoch: c.epoch,
		LeaseSeconds: int64(c.inv.d.Lease / time.Second), PingSeconds: int64(c.inv.d.Ping / time.Second),
	}}})
}

func (c *control) checkHello(h *presencev1.Hello) error {
	if h == nil {
		return fault.New(fault.Invalid, "the first message on a control stream is hello")
	}
	if len(h.Version) > maxText || len(h.Hostname) > maxText || len(h.Services) > maxAnnounced {
		return fault.New(fault.Limit, "the hello is too large")
	}
	for _, s := range h.Services {
		if !c.id.HasSystemRole(types.SystemRole(s)) {
			return fault.New(fault.Denied, "the certificate of %s does not have the role %q", c.id, s).
				WithHint("join again with a token that allows it")
		}
	}
	return nil
}

// register takes the instance document with a higher epoch. A process that
// drains, or is of an older generation than the one that is alive, gets a
// stream but not the documents.
func (c *control) register(ctx context.Context) error {
	i := c.inv
	inst := c.instance()
	owns := false
	current, err := i.instances.Get(ctx, c.id.Name)
	switch {
	case errors.Is(err, fault.NotFound):
		inst.Spec.Epoch, owns = 1, true
		_, err = i.instances.Create(ctx, inst)
	case err != nil:
	case i.supersededBy(current, c):
		c.epoch = current.Spec.Epoch
	default:
		inst.Spec.Epoch, owns = current.Spec.Epoch+1, true
		inst.Metadata.Revision = current.Metadata.Revision
		_, err = i.instances.Update(ctx, inst)
	}
	if errors.Is(err, fault.AlreadyExists) || errors.Is(err, fault.Conflict) {
		return fault.Wrap(err, fault.Unavailable, "the process connects twice at the same moment; it tries again")
	}
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if old := i.streams[c.key]; old != nil {
		i.disown(old)
		old.kick(errSuperseded)
	}
	if owns {
		c.epoch = inst.Spec.Epoch
		i.owners[c.id.Name] = c // this stream, not an older one's, writes the documents
	}
	i.streams[c.key] = c
	i.unsettled = true
	if owns { // else the lease of whoever had the documents goes on
		delete(i.lost, c.id.Name)
		delete(i.orphans, c.id.Name)
	}
	return nil
}

// disown takes the documents of its process from a stream, and tells whether it
// had them. The caller holds i.mu.
func (i *Inventory) disown(c *control) bool {
	if i.owners[c.id.Name] != c {
		return false
	}
	delete(i.owners, c.id.Name)
	return true
}

// supersededBy reports whether the documents are a newer generation's: of one that
// is alive; and for a process that drains of one that has its lease to come back,
// as its goodbye would take them away.
func (i *Inventory) supersededBy(current *types.Instance, c *control) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if c.hello.Generation >= current.Spec.Generation {
		return false
	}
	if c.hello.Draining {
		return true
	}
	return current.Spec.AuthServer != i.self || i.owners[c.id.Name] != nil
}

func (c *control) instance() *types.Instance {
	inst := &types.Instance{Header: types.Header{Kind: types.KindInstance, Version: "v1",
		Metadata: types.Metadata{Name: c.id.Name}}}
	hostname := c.id.Authority.Hostname
	if hostname == "" {
		hostname = c.hello.Hostname
	}
	inst.Spec = types.InstanceSpec{Hostname: hostname, Version: c.hello.Version, LastSeen: c.inv.d.Now(),
		AuthServer: c.inv.self, Generation: c.hello.Generation, Draining: c.hello.Draining}
	for _, s := range c.hello.Services {
		inst.Spec.Services = append(inst.Spec.Services, types.SystemRole(s))
	}
	return inst
}

// run serves the open stream. bye tells that the peer ended its lease itself.
func (c *control) run(ctx context.Context, messages <-chan received) (bye bool, err error) {
	lease := time.NewTimer(c.inv.d.Lease)
	defer lease.Stop()
	for {
		select {
		case r := <-messages:
			if r.err != nil {
				return false, r.err
			}
			lease.Reset(c.inv.d.Lease)
			if bye, err = c.handle(ctx, r.message); bye || err != nil {
				return bye, err
			}
		case <-c.again:
			if err := c.retry(ctx); err != nil {
				return false, err
			}
		case err := <-c.kicked:
			return false, err
		case <-lease.C:
			return false, errSilent
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

func (c *control) handle(ctx context.Context, m *presencev1.ControlRequest) (bye bool, err error) {
	switch {
	case m.GetPing() != nil:
		return false, c.send(&presencev1.ControlResponse{Message: &presencev1.ControlResponse_Pong{Pong: &presencev1.Pong{
			Sequence: m.GetPing().Sequence, TimeUnixNano: c.inv.d.Now().UnixNano()}}})
	case m.GetAnnounce() != nil:
		return false, c.announce(ctx, m.GetAnnounce().Resources)
	case m.GetSessions() != nil:
		return false, c.sessions(ctx, m.GetSessions())
	case m.GetPong() != nil:
		return false, nil
	case m.GetBye() != nil:
		return true, nil
	}
	return false, fault.New(fault.Invalid, "a message that does not belong here on a control stream")
}

// announce replaces what the process fronts. What it may not register is
// reported on the stream and recorded; the rest is taken.
func (c *control) announce(ctx context.Context, docs [][]byte) error {
	if len(docs) > maxAnnounced {
		return fault.New(fault.Limit, "at most %d resources can be announced at once", maxAnnounced)
	}
	present := map[docKey]bool{}
	for _, raw := range docs {
		key, err := c.announceOne(ctx, raw)
		if err != nil {
			return err
		}
		present[key] = true
	}
	for key := range c.written {
		if present[key] {
			continue
		}
		if err := c.withdraw(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// announceOne registers one document and returns which it is. An error is our own
// trouble; a refusal is told to the peer.
func (c *control) announceOne(ctx context.Context, raw []byte) (docKey, error) {
	doc, err := c.inv.d.Store.Decode(ctx, raw)
	if err != nil {
		return docKey{}, c.refuse(ctx, documentHead(raw), err)
	}
	h := doc.Head()
	if err := admit(c.id, doc); err != nil {
		return docKey{}, c.refuse(ctx, *h, err)
	}
	key := docKey{h.Kind, h.Metadata.Name}
	if !c.owner() {
		return key, nil // a newer generation speaks for this host
	}
	if bytes.Equal(c.written[key], raw) {
		return key, nil
	}
	if n, ok := doc.(*types.Node); ok {
		names := namesOf(n)
		err := c.inv.claimNames(ctx, c.id.Name, names)
		if errors.Is(err, fault.AlreadyExists) {
			first := c.refused[key] == nil
			c.refused[key] = raw
			if !first {
				return key, nil
			}
			return key, c.refuse(ctx, *h, err)
		}
		if err != nil {
			return docKey{}, err
		}
		c.names = names
	}
	h.Metadata.Revision, h.Metadata.Expires = "", nil
	if _, err := c.inv.d.Store.Put(ctx, store.Upsert, doc); err != nil {
		return docKey{}, err
	}
	c.written[key] = raw
	delete(c.refused, key)
	return key, nil
}

func (c *control) withdraw(ctx context.Context, key docKey) error {
	delete(c.written, key)
	if !c.owner() {
		return nil
	}
	if err := c.inv.d.Store.Delete(ctx, key.kind, "", key.name, ""); err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	if key.kind == types.KindNode {
		c.inv.mu.Lock()
		c.inv.names.drop(c.id.Name)
		c.inv.mu.Unlock()
	}
	return nil
}

// retry looks again at documents whose name was taken, and withdraws a node that
// another auth service admitted a rival of, earlier.
func (c *control) retry(ctx context.Context) error {
	node := docKey{types.KindNode, c.id.Name}
	if raw := c.written[node]; raw != nil && c.owner() && c.inv.lostNames(c.id.Name, c.names) {
		if err := c.withdraw(ctx, node); err != nil {
			return err
		}
		if _, err := c.announceOne(ctx, raw); err != nil { // which refuses it, and says why
			return err
		}
	}
	for _, raw := range c.refused {
		if _, err := c.announceOne(ctx, raw); err != nil {
			return err
		}
	}
	return nil
}

// retryRefused asks every stream with refused documents to try again.
func (i *Inventory) retryRefused() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range i.streams {
		select {
		case c.again <- struct{}{}:
		default:
		}
	}
}

func (c *control) refuse(ctx context.Context, h types.Header, cause error) error {
	e := &event.InstanceRefused{HostID: c.id.Name, ResourceKind: h.Kind, Name: h.Metadata.Name}
	e.RemoteAddr, e.Error, e.Message = c.addr.String(), cause.Error(), fault.Message(cause)
	if err := c.inv.d.Events.Emit(ctx, e); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the audit log does not take events")
	}
	return c.send(&presencev1.ControlResponse{Message: &presencev1.ControlResponse_Refused{Refused: &presencev1.Refused{
		Kind: h.Kind, Name: h.Metadata.Name, Reason: fault.Message(cause)}}})
}

func (c *control) send(m *presencev1.ControlResponse) error {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	return c.stream.Send(m)
}

func (c *control) kick(err error) {
	select {
	case c.kicked <- err:
	default:
	}
}

func (c *control) owner() bool {
	c.inv.mu.Lock()
	defer c.inv.mu.Unlock()
	return c.inv.owners[c.id.Name] == c
}

// close unfiles the stream. After a goodbye, or when the lease has run out, the
// documents go at once; otherwise the process has the lease to come back.
func (c *control) close(ctx context.Context, bye bool, cause error) error {
	i := c.inv
	i.mu.Lock()
	current := i.streams[c.key] == c
	if current {
		delete(i.streams, c.key)
	}
	i.unsettled = true
	owns := i.disown(c)
	if owns {
		i.lost[c.id.Name] = lostInstance{epoch: c.epoch, since: i.d.Now()}
	}
	i.mu.Unlock()
	if !bye && !errors.Is(cause, fault.Timeout) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var err error
	if current {
		err = c.endSessions(ctx)
	}
	if owns {
		err = errors.Join(err, i.remove(ctx, c.id.Name, c.epoch))
	}
	return err
}

// documentHead reads what can be read of a document that was not accepted.
func documentHead(raw []byte) types.Header {
	var h types.Header
	if err := json.Unmarshal(raw, &h); err != nil {
		return types.Header{}
	}
	h.Kind, h.Metadata.Name = clip(h.Kind), clip(h.Metadata.Name)
	return h
}

func clip(s string) string { return s[:min(len(s), maxText)] }
