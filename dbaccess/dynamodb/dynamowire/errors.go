package dynamowire

import (
	"encoding/json"

	"teleport/fault"
)

// MaxBody bounds one request, in bytes. DynamoDB itself takes 16 MB.
const MaxBody = 24 << 20

// Error is an error as the services tell it: the status of HTTP, the error's name
// and the body of type ErrorType. What a second attempt cannot mend is none that
// clients try again.
func Error(why error) (status int, name string, body []byte) {
	status, name = 500, "InternalServerError"
	switch fault.KindOf(why) {
	case fault.Denied, fault.Unauthenticated:
		status, name = 400, "AccessDeniedException"
	case fault.Invalid, fault.Limit, fault.NotFound:
		status, name = 400, "ValidationException"
	case fault.Unimplemented:
		status, name = 400, "UnknownOperationException"
	case fault.Unavailable, fault.Timeout:
		status, name = 503, "ServiceUnavailable"
	}
	message := fault.Message(why)
	if hint := fault.Hint(why); hint != "" {
		message += " (" + hint + ")"
	}
	body, err := json.Marshal(map[string]string{"__type": "com.amazon.coral.service#" + name, "message": message})
	if err != nil {
		body = []byte("{}")
	}
	return status, name, body
}

// ErrorType is the content type of an error.
const ErrorType = "application/x-amz-json-1.0"
