package client

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/resume"
)

// TestWhatEndsALostSession: an answer that may pass does not, one that will not
// does, with the line that the person sees.
func TestWhatEndsALostSession(t *testing.T) {
	offline := dial.Reply{Kind: fault.Unavailable, Message: "node web-1 is offline"}
	departed := offline
	departed.Departed = true
	for name, tc := range map[string]struct {
		reply dial.Reply
		err   error
		after time.Duration // of the same answer
		final string        // "": not yet
	}{
		"nobody answers":           {dial.Reply{}, errors.New("connection refused"), time.Hour, ""},
		"the agent is away":        {offline, nil, time.Hour, ""},
		"the agent has just left":  {departed, nil, 2 * time.Second, ""},
		"the agent has left":       {departed, nil, 6 * time.Second, "the agent of web-1 has ended"},
		"the proxy has started":    {dial.Reply{Kind: fault.NotFound, Message: "there is no node"}, nil, 10 * time.Second, ""},
		"the node is gone":         {dial.Reply{Kind: fault.NotFound, Message: "there is no node"}, nil, 20 * time.Second, "there is no node"},
		"the user is locked":       {dial.Reply{Kind: fault.Denied, Message: "you are locked"}, nil, 0, "you are locked"},
		"the proxy does not trust": {dial.Reply{Kind: fault.Untrusted, Message: "expired"}, nil, 0, "expired"},
		"an old agent":             {dial.Reply{Kind: fault.Unimplemented, Message: "cannot resume"}, nil, 0, "cannot resume"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &redialer{reply: dial.Reply{Hostname: "web-1"}}
				err := tc.err
				if err == nil {
					err = tc.reply.Err()
				}
				got := r.judge(tc.reply, err)
				if tc.after > 0 {
					time.Sleep(tc.after)
					got = r.judge(tc.reply, err)
				}
				if resume.IsFinal(got) != (tc.final != "") || !strings.Contains(got.Error(), tc.final) {
					t.Errorf("%v", got)
				}
			})
		})
	}
}
