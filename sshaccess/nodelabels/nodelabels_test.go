package nodelabels_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"teleport/sshaccess/nodelabels"
	"teleport/types"
)

func label(period time.Duration, argv ...string) types.CommandLabel {
	return types.CommandLabel{Command: argv, Period: types.Duration(period)}
}

func TestRun(t *testing.T) {
	changes := make(chan struct{}, 10)
	r, err := nodelabels.New(map[string]types.CommandLabel{
		"good": label(time.Minute, "/bin/sh", "-c", "echo ' one '; echo two"),
		"bad":  label(time.Hour, "/bin/false"),
		"none": label(time.Hour, "/nonexistent"),
		"much": label(time.Hour, "/bin/sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x"),
	}, func() { changes <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	r.RunOnce(context.Background())
	got := r.Labels()
	if got["good"].Result != "one" || !strings.HasPrefix(got["bad"].Result, "error: exit status 1") ||
		!strings.HasPrefix(got["none"].Result, "error: ") || len(got["much"].Result) != 1024 {
		t.Errorf("%+v", got)
	}
	if len(changes) != 4 {
		t.Errorf("%d changes", len(changes))
	}
	r.RunOnce(context.Background())
	if len(changes) != 4 {
		t.Error("a change was told where there was none")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, l := range map[string]types.CommandLabel{"fast": label(time.Second, "true"), "empty": label(time.Hour), "blank": label(time.Hour, "")} {
		if _, err := nodelabels.New(map[string]types.CommandLabel{name: l}, nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
