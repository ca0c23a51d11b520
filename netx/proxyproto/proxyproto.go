// Package proxyproto reads and writes the PROXY protocol, versions 1 and 2, by
// which a load balancer tells the address of the client that it speaks for
// (HAProxy's proxy-protocol.txt). It reads strictly and in bounds: a header that
// is not exactly as specified is refused, never skipped.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"teleport/fault"
)

// Mode says what a listener makes of PROXY headers.
type Mode string

// The modes of a listener.
const (
	// Unset parses a header that is there, and records the client's port as 0, so
	// that what pins addresses can tell that nobody vouches for it. For tests only.
	Unset Mode = ""
	On    Mode = "on"  // a header is required
	Off   Mode = "off" // a header is refused
)

// Valid reports whether m is a mode.
func (m Mode) Valid() bool { return m == Unset || m == On || m == Off }

// Limits of a header in bytes. Version 1 is bounded by the specification; of
// version 2 we accept the addresses and a little of what may follow them.
const (
	maxV1   = 107
	maxV2   = 16 + maxTail
	maxTail = 1024
)

const (
	prefixV1    = "PROXY "
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// PrefixLen is how many bytes decide whether a stream begins with a header.
const PrefixLen = len(signatureV2)

// Header is what a balancer says of a connection.
type Header struct {
	// Source is the client, Destination where it connected to. Both are zero when
	// the balancer speaks for itself (LOCAL, UNKNOWN).
	Source, Destination netip.AddrPort
}

// Sniff looks at the first bytes of a stream. It reports whether they begin
// with a header; when more bytes could still change that, undecided is true.
func Sniff(b []byte) (found, undecided bool) {
	for _, p := range []string{prefixV1, signatureV2} {
		n := min(len(b), len(p))
		if string(b[:n]) != p[:n] {
			continue
		}
		if n == len(p) {
			return true, false
		}
		undecided = true
	}
	return false, undecided
}

// Read reads one header from r and not a byte beyond it. Bytes that do not
// follow the specification are fault.Invalid. The caller sets the deadline.
func Read(r io.Reader) (Header, error) {
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return Header{}, err
	}
	if first[0] == prefixV1[0] {
		return readV1(r)
	}
	if first[0] == signatureV2[0] {
		return readV2(r)
	}
	return Header{}, invalid("it is missing")
}

func invalid(format string, args ...any) error {
	e := fault.New(fault.Invalid, "PROXY header: "+format, args...)
	return e
}

// readV1 reads the rest of "PROXY TCP4 src dst sport dport\r\n", byte by byte,
// as its end is only known by its new line.
func readV1(r io.Reader) (Header, error) {
	line := []byte{prefixV1[0]}
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) >= maxV1 {
			return Header{}, invalid("the line is longer than %d bytes", maxV1)
		}
		n := len(line)
		line = append(line, 0)
		if _, err := io.ReadFull(r, line[n:]); err != nil {
			return Header{}, eof(err)
		}
	}
	parts := strings.Split(string(line[:len(line)-2]), " ")
	if parts[0] != "PROXY" || len(parts) < 2 {
		return Header{}, invalid("the line does not begin with PROXY and a protocol")
	}
	if parts[1] == "UNKNOWN" {
		return Header{}, nil
	}
	if len(parts) != 6 || parts[1] != "TCP4" && parts[1] != "TCP6" {
		return Header{}, invalid("the line is not TCP4 or TCP6 with two addresses and two ports")
	}
	src, err := endpoint(parts[2], parts[4], parts[1] == "TCP4")
	if err != nil {
		return Header{}, err
	}
	dst, err := endpoint(parts[3], parts[5], parts[1] == "TCP4")
	return Header{Source: src, Destination: dst}, err
}

func endpoint(host, port string, v4 bool) (netip.AddrPort, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" || ip.Is4() != v4 {
		return netip.AddrPort{}, invalid("an address is not of the protocol's family")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port != strconv.FormatUint(n, 10) {
		return netip.AddrPort{}, invalid("a port is not a number up to 65535")
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}

// readV2 reads the rest of a binary header.
func readV2(r io.Reader) (Header, error) {
	var fixed [16]byte
	fixed[0] = signatureV2[0]
	if _, err := io.ReadFull(r, fixed[1:]); err != nil {
		return Header{}, eof(err)
	}
	if string(fixed[:12]) != signatureV2 {
		return Header{}, invalid("the signature is wrong")
	}
	n := int(binary.BigEndian.Uint16(fixed[14:]))
	if n > maxTail {
		return Header{}, invalid("%d bytes of addresses are over the limit of %d", n, maxTail)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return Header{}, eof(err)
	}
	switch fixed[12] {
	case 0x20: // LOCAL: a health check of the balancer itself
		return Header{}, nil
	case 0x21: // PROXY
	default:
		return Header{}, invalid("version or command %#x is unknown", fixed[12])
	}
	return addresses(fixed[13], body)
}

func addresses(family byte, body []byte) (Header, error) {
	size := map[byte]int{0x11: 4, 0x21: 16}[family]
	switch {
	case family == 0x00: // unspecified
		return Header{}, nil
	case size == 0:
		return Header{}, invalid("family %#x is not TCP over IPv4 or IPv6", family)
	case len(body) < 2*size+4:
		return Header{}, invalid("the addresses are cut short")
	}
	src, _ := netip.AddrFromSlice(body[:size])
	dst, _ := netip.AddrFromSlice(body[size : 2*size])
	ports := body[2*size:]
	if err := checkTLVs(ports[4:]); err != nil {
		return Header{}, err
	}
	return Header{
		Source:      netip.AddrPortFrom(src.Unmap(), binary.BigEndian.Uint16(ports)),
		Destination: netip.AddrPortFrom(dst.Unmap(), binary.BigEndian.Uint16(ports[2:])),
	}, nil
}

// checkTLVs walks the extensions, which we do not use, so that a header with a
// wrong length is noticed here and not as garbage after it.
func checkTLVs(b []byte) error {
	for len(b) > 0 {
		if len(b) < 3 {
			return invalid("an extension is cut short")
		}
		n := int(binary.BigEndian.Uint16(b[1:]))
		if len(b) < 3+n {
			return invalid("an extension is cut short")
		}
		b = b[3+n:]
	}
	return nil
}

func eof(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// AppendV1 appends the text form of h.
func (h Header) AppendV1(b []byte) []byte {
	src, dst, v4 := h.family()
	if !src.IsValid() || !dst.IsValid() {
		return append(b, "PROXY UNKNOWN\r\n"...)
	}
	proto := "TCP6"
	if v4 {
		proto = "TCP4"
	}
	for _, s := range []string{"PROXY ", proto, " ", src.Addr().String(), " ", dst.Addr().String(), " ",
		strconv.Itoa(int(src.Port())), " ", strconv.Itoa(int(dst.Port())), "\r\n"} {
		b = append(b, s...)
	}
	return b
}

// AppendV2 appends the binary form of h.
func (h Header) AppendV2(b []byte) []byte {
	b = append(b, signatureV2...)
	src, dst, v4 := h.family()
	if !src.IsValid() || !dst.IsValid() {
		return append(b, 0x20, 0x00, 0, 0)
	}
	if v4 {
		b = append(b, 0x21, 0x11, 0, 12)
	} else {
		b = append(b, 0x21, 0x21, 0, 36)
	}
	b = append(b, src.Addr().AsSlice()...)
	b = append(b, dst.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	return binary.BigEndian.AppendUint16(b, dst.Port())
}

// family brings both addresses to one family: v4 where both are, else v6 with
// v4 mapped into it.
func (h Header) family() (src, dst netip.AddrPort, v4 bool) {
	s, d := h.Source.Addr().Unmap(), h.Destination.Addr().Unmap()
	v4 = s.Is4() && d.Is4()
	if !v4 && s.IsValid() && d.IsValid() {
		s, d = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16())
	}
	return netip.AddrPortFrom(s, h.Source.Port()), netip.AddrPortFrom(d, h.Destination.Port()), v4
}

// Remote returns the address to report for a connection whose socket says peer,
// after a header in the given mode.
func (h Header) Remote(mode Mode, peer net.Addr) net.Addr {
	if !h.Source.IsValid() {
		return peer
	}
	src := h.Source
	if mode == Unset {
		src = netip.AddrPortFrom(src.Addr(), 0)
	}
	return net.TCPAddrFromAddrPort(src)
}
