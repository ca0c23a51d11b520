package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"

	"connectrpc.com/connect"

	"teleport/api/gen/faultv1"
	"teleport/fault"
)

// code maps a kind onto Connect's codes. Every kind of fault.Kinds is here.
func code(k fault.Kind) connect.Code {
	switch k {
	case fault.NotFound:
		return connect.CodeNotFound
	case fault.AlreadyExists:
		return connect.CodeAlreadyExists
	case fault.Denied:
		return connect.CodePermissionDenied
	case fault.Unauthenticated:
		return connect.CodeUnauthenticated
	case fault.Invalid:
		return connect.CodeInvalidArgument
	case fault.Conflict:
		return connect.CodeAborted
	case fault.Limit:
		return connect.CodeResourceExhausted
	case fault.Unavailable:
		return connect.CodeUnavailable
	case fault.Timeout:
		return connect.CodeDeadlineExceeded
	case fault.Canceled:
		return connect.CodeCanceled
	case fault.Unimplemented:
		return connect.CodeUnimplemented
	case fault.Untrusted:
		return connect.CodeFailedPrecondition
	}
	return connect.CodeInternal
}

// kind is the way back for answers that carry no fault detail: those of another
// program, or of Connect itself.
func kind(c connect.Code) fault.Kind {
	for _, k := range fault.Kinds() {
		if code(k) == c {
			return k
		}
	}
	switch c {
	case connect.CodeOutOfRange:
		return fault.Invalid
	case connect.CodeUnknown:
		return fault.Unavailable
	}
	return fault.Internal
}

// ToWire renders an error for a peer: kind, user-safe message and hint. The
// cause stays here; an unclassified error becomes "internal error".
func ToWire(err error) *connect.Error {
	var wire *connect.Error
	if err == nil {
		return nil
	}
	if errors.As(err, &wire) && !isFault(err) {
		return fromConnectItself(wire)
	}
	k := fault.KindOf(err)
	out := connect.NewError(code(k), errors.New(fault.Message(err)))
	detail, detailErr := connect.NewErrorDetail(&faultv1.Fault{
		Kind: string(k), Message: fault.Message(err), Hint: fault.Hint(err),
	})
	if detailErr == nil {
		out.AddDetail(detail)
	}
	return out
}

// fromConnectItself keeps the code of errors that the library made (malformed
// message, size limit), whose texts may quote the peer's input back.
func fromConnectItself(e *connect.Error) *connect.Error {
	k := kind(e.Code())
	switch k {
	case fault.Invalid:
		return ToWire(fault.New(k, "the request is malformed"))
	case fault.Limit:
		return ToWire(fault.New(k, "the request is too large"))
	case fault.Internal:
		return ToWire(errors.New("internal"))
	}
	return ToWire(fault.New(k, "%s", k))
}

func isFault(err error) bool {
	var f *fault.Error
	return errors.As(err, &f)
}

// FromWire is the client's half: the fault that the server sent, or one that
// says what happened on the way.
func FromWire(err error) error {
	if err == nil || isFault(err) {
		return err
	}
	var wire *connect.Error
	if errors.As(err, &wire) {
		for _, d := range wire.Details() {
			v, valueErr := d.Value()
			f, ok := v.(*faultv1.Fault)
			if valueErr != nil || !ok {
				continue
			}
			k := fault.Kind(f.Kind)
			if !k.Valid() {
				k = kind(wire.Code())
			}
			out := fault.New(k, "%s", f.Message)
			if f.Hint != "" {
				out = out.WithHint("%s", f.Hint)
			}
			return out
		}
	}
	return transportFault(err, wire)
}

// transportFault classifies what happened below the procedures.
func transportFault(err error, wire *connect.Error) error {
	var unknownCA x509.UnknownAuthorityError
	var verify *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &unknownCA), errors.As(err, &verify):
		return fault.Wrap(err, fault.Untrusted, "the auth service's certificate is not signed by this cluster")
	case errors.As(err, &op) && op.Op == "remote error":
		return fault.Wrap(err, fault.Unauthenticated, "the auth service refused our certificate")
	case wire == nil:
		if k := fault.KindOf(err); k != fault.Internal {
			return fault.Wrap(err, k, "%s", fault.Message(err))
		}
		return fault.Wrap(err, fault.Unavailable, "the auth service does not answer")
	}
	switch k := kind(wire.Code()); k {
	case fault.Unavailable:
		return fault.Wrap(err, k, "the auth service does not answer")
	case fault.Timeout:
		return fault.Wrap(err, k, "the auth service did not answer in time")
	case fault.Canceled:
		return fault.Wrap(err, k, "canceled")
	case fault.Unimplemented:
		return fault.Wrap(err, k, "the auth service does not know this request; it may be of another version")
	default:
		return fault.Wrap(err, k, "the auth service answered: %s", wire.Code())
	}
}

// Status is the HTTP status of a kind, for routes that are not Connect.
func Status(k fault.Kind) int {
	switch k {
	case fault.NotFound:
		return http.StatusNotFound
	case fault.AlreadyExists, fault.Conflict:
		return http.StatusConflict
	case fault.Denied:
		return http.StatusForbidden
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Limit:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Timeout, fault.Canceled:
		return http.StatusGatewayTimeout
	case fault.Unimplemented:
		return http.StatusNotImplemented
	case fault.Untrusted:
		return http.StatusPreconditionFailed
	}
	return http.StatusInternalServerError
}
