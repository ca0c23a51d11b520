package cloudhost

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"

	"teleport/fault"
)

// Wire is the form in which a client of a cloud reads errors.
type Wire int

// The forms. The zero value is that of AWS's services that speak JSON.
const (
	WireAWSJSON  Wire = iota
	WireS3            // XML, one Error
	WireAWSQuery      // XML, of services that take forms
	WireEC2           // XML, of EC2
	WireAzure
	WireAzureStorage
	WireGoogle
)

// AWSWire is the form that a client of a service of AWS reads, told by what it sent.
func AWSWire(service, contentType string) Wire {
	form := strings.HasPrefix(contentType, "application/x-www-form-urlencoded")
	switch {
	case service == "s3":
		return WireS3
	case service == "ec2":
		return WireEC2
	case form:
		return WireAWSQuery
	}
	return WireAWSJSON
}

// AzureWire is the form that a client of an API of Azure reads.
func AzureWire(host string) Wire {
	if a, ok := ParseAzure(host); ok && a.Audience == "https://storage.azure.com/" {
		return WireAzureStorage
	}
	return WireAzure
}

// Refusal is an answer in a cloud's own form.
type Refusal struct {
	Status int
	Header map[string]string
	Body   []byte
}

// Refuse says in the cloud's form why a request did not reach it, so that the tools
// of people show it, and do not try again where that is of no use. id finds the
// request in the log; it may be empty.
func Refuse(w Wire, why error, id string) Refusal {
	status, code, google := 500, "InternalError", "INTERNAL"
	switch fault.KindOf(why) {
	case fault.Denied:
		status, code, google = 403, "AccessDenied", "PERMISSION_DENIED"
	case fault.Unauthenticated:
		status, code, google = 403, "AccessDenied", "UNAUTHENTICATED"
	case fault.Invalid, fault.Limit, fault.NotFound:
		status, code, google = 400, "InvalidRequest", "INVALID_ARGUMENT"
	case fault.Unimplemented:
		status, code, google = 400, "NotImplemented", "UNIMPLEMENTED"
	case fault.Unavailable, fault.Timeout, fault.Untrusted:
		status, code, google = 503, "ServiceUnavailable", "UNAVAILABLE"
	}
	message := fault.Message(why)
	if hint := fault.Hint(why); hint != "" {
		message += " (" + hint + ")"
	}
	r := Refusal{Status: status, Header: map[string]string{"Cache-Control": "no-store"}}
	r.write(w, code, google, message, id)
	return r
}

func (r *Refusal) write(w Wire, code, google, message, id string) {
	e := xmlError{Code: code, Message: message}
	switch w {
	case WireS3:
		e.RequestID = id
		r.xml(xml.Name{Local: "Error"}, e)
	case WireAWSQuery:
		r.xml(xml.Name{Local: "ErrorResponse"}, queryError{Error: e, RequestID: id})
	case WireEC2:
		r.xml(xml.Name{Local: "Response"}, ec2Error{Errors: []xmlError{e}, RequestID: id})
	case WireAzureStorage:
		r.Header["x-ms-error-code"] = code
		r.xml(xml.Name{Local: "Error"}, e)
	case WireAzure:
		r.json("application/json", map[string]any{"error": map[string]any{"code": code, "message": message}})
	case WireGoogle:
		r.json("application/json", map[string]any{"error": map[string]any{"code": r.Status, "message": message, "status": google}})
	default:
		name := code + "Exception"
		r.Header["X-Amzn-Errortype"] = name
		r.json("application/x-amz-json-1.1", map[string]any{"__type": name, "message": message})
	}
}

type xmlError struct {
	Type      string `xml:",omitempty"`
	Code      string
	Message   string
	RequestID string `xml:"RequestId,omitempty"`
}

type queryError struct {
	Error     xmlError
	RequestID string `xml:"RequestId,omitempty"`
}

type ec2Error struct {
	Errors    []xmlError `xml:"Errors>Error"`
	RequestID string     `xml:"RequestID,omitempty"`
}

// xml writes a value of those types, which cannot fail.
func (r *Refusal) xml(name xml.Name, v any) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	_ = xml.NewEncoder(&b).EncodeElement(v, xml.StartElement{Name: name})
	r.Header["Content-Type"], r.Body = "application/xml", b.Bytes()
}

func (r *Refusal) json(media string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		body = []byte("{}")
	}
	r.Header["Content-Type"], r.Body = media, body
}
