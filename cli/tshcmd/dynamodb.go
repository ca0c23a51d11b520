package tshcmd

import (
	"fmt"
	"slices"
	"strings"

	"teleport/client/dbclient"
	"teleport/client/localproxy"
	"teleport/fault"
	"teleport/types"
)

// signedWay is a local proxy for clients that sign what they send, with keys that
// are good for it alone, and the environment that gives them to such a client.
func (a *app) signedWay(d *types.Database, dial localproxy.Dialer) (localServer, []string) {
	keys := localproxy.NewKeys()
	region := d.Spec.AWSRegion()
	return localproxy.NewSigned(keys, localproxy.Options{Dial: dial, Failed: a.notLetThrough}),
		[]string{"AWS_ACCESS_KEY_ID=" + keys.ID, "AWS_SECRET_ACCESS_KEY=" + keys.Secret, "AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region}
}

// forAWS is the environment for the aws command: the tunnel's keys, and nothing by
// which it would take others.
func forAWS(environ, own []string) []string {
	out := slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"}, name)
	})
	return append(out, own...)
}

// noCommand says what the aws command must be given.
func noCommand(name string) error {
	return fault.New(fault.Invalid, "the aws command needs to be told what to do").WithHint("tsh db connect %s … -- dynamodb list-tables", name)
}

// printAWS prints what a person pastes where clients shall reach a tunnel.
func (a *app) printAWS(env []string, t dbclient.Target) {
	fmt.Fprintf(a.out, "\nGive clients these keys, which are good for this tunnel alone:\n\n")
	for _, kv := range env {
		fmt.Fprintf(a.out, "  export %s\n", kv)
	}
	if argv, err := t.Argv(installed); err == nil {
		fmt.Fprintf(a.out, "\nand then use the following:\n\n  %s dynamodb list-tables\n", strings.Join(argv, " "))
	}
}
