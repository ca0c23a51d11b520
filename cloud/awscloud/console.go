package awscloud

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"teleport/cloud/cloudcall"
	"teleport/fault"
	"teleport/types"
)

const (
	// leastConsole and mostConsole bound a console session; AWS has no shorter one,
	// and none that another role has begun is longer than roleLife.
	leastConsole = 15 * time.Minute
	mostConsole  = 12 * time.Hour
)

// consolePart is where people sign in to one part of AWS.
type consolePart struct{ region, signin, console string }

var consoles = map[string]consolePart{
	"aws":        {"us-east-1", "https://signin.aws.amazon.com/federation", "https://console.aws.amazon.com/"},
	"aws-us-gov": {"us-gov-west-1", "https://signin.amazonaws-us-gov.com/federation", "https://console.amazonaws-us-gov.com/"},
	"aws-cn":     {"cn-north-1", "https://signin.amazonaws.cn/federation", "https://console.amazonaws.cn/"},
}

// SignIn is a person who goes to the console.
type SignIn struct {
	Role        Role
	Issuer      string    // URL where the person is sent when the session ends
	Destination string    // URL within the console; "" is its first page
	Until       time.Time // end of who signs in: the session ends no later
	Endpoint    string    // replaces that of AWS's federation
}

// ConsoleURL begins a session of a role and returns the URL that a browser enters
// the console by: for a quarter of an hour, whoever has it is that role. The
// session cannot be ended by us before its time.
func (c *Cloud) ConsoleURL(ctx context.Context, s SignIn) (string, error) {
	part, ok := consoles[types.AWSRolePartition(s.Role.ARN)]
	if !ok {
		return "", fault.New(fault.Unimplemented, "the role %s is of a part of AWS whose console is not known", s.Role.ARN)
	}
	life := min(time.Until(s.Until), mostConsole)
	if life < leastConsole {
		return "", fault.New(fault.Denied, "a console session lives at least a quarter of an hour, and your log-in ends before").WithHint("log in again")
	}
	own, err := c.Credentials(ctx, part.region)
	if err != nil {
		return "", err
	}
	query := url.Values{"Action": {"getSigninToken"}}
	if own.SessionToken != "" {
		// One role by another: AWS bounds it by the life of what it takes.
		life = min(life, roleLife)
	} else {
		query.Set("SessionDuration", strconv.Itoa(int(life/time.Second)))
	}
	cfg, err := c.config(ctx)
	if err != nil {
		return "", err
	}
	creds, err := assume(ctx, cfg, part.region, own, s.Role, max(min(life, roleLife), leastConsole))
	if err != nil {
		return "", err
	}
	return part.enter(ctx, c.way, query, creds, s)
}

// enter exchanges credentials for a token of the sign-in page.
func (p consolePart) enter(ctx context.Context, way *http.Transport, query url.Values, creds aws.Credentials, s SignIn) (string, error) {
	if s.Endpoint != "" {
		p.signin = s.Endpoint
	}
	if s.Destination == "" {
		s.Destination = p.console
	}
	session, err := json.Marshal(map[string]string{"sessionId": creds.AccessKeyID, "sessionKey": creds.SecretAccessKey, "sessionToken": creds.SessionToken})
	if err != nil {
		return "", err
	}
	query.Set("Session", string(session))
	r, err := http.NewRequest(http.MethodGet, p.signin+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return "", fault.New(fault.Invalid, "the address of AWS's sign-in is no URL") // which is all that may be told of it
	}
	var out struct{ SigninToken string }
	if _, err := cloudcall.JSON(ctx, cloudcall.Public(way), r, "AWS's sign-in", &out); err != nil {
		return "", fault.New(fault.KindOf(err), "AWS's sign-in gives no token for the role %s", s.Role.ARN) // the cause names the URL, and that holds keys
	}
	if out.SigninToken == "" {
		return "", fault.New(fault.Unavailable, "AWS's sign-in gives no token for the role %s", s.Role.ARN)
	}
	return p.signin + "?" + url.Values{"Action": {"login"}, "Issuer": {s.Issuer}, "Destination": {s.Destination}, "SigninToken": {out.SigninToken}}.Encode(), nil
}
