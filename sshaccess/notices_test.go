package sshaccess

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// quiet is a channel that keeps what is said, and takes its time for it.
type quiet struct {
	ssh.Channel
	slow time.Duration

	mu   sync.Mutex
	said bytes.Buffer
}

func (q *quiet) lines() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return strings.Count(q.said.String(), "\r\n") / 2
}

func (q *quiet) Stderr() io.ReadWriter { return q }

func (q *quiet) Read([]byte) (int, error) { return 0, io.EOF }

func (q *quiet) Write(p []byte) (int, error) {
	time.Sleep(q.slow)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.said.Write(p)
}

// What is to be told is told before the channel says no more, unless its owner
// does not read.
func TestWhatWaitsIsToldBeforeTheEnd(t *testing.T) {
	for slow, want := range map[time.Duration]int{0: 3, 10 * time.Millisecond: 3, time.Minute: 0} {
		synctest.Test(t, func(t *testing.T) {
			q := &quiet{slow: slow}
			s := &channel{ch: q, notices: make(chan string, noticesMost), told: make(chan chan struct{}), over: make(chan struct{})}
			go s.tellOwner()
			for _, line := range []string{"one", "two", "ended by the moderator"} {
				s.notice(line)
			}
			begun := time.Now()
			s.tellAll()
			if n := q.lines(); n != want {
				t.Errorf("%d lines at the end of an owner who takes %s for each", n, slow)
			}
			if d := time.Since(begun); d > lastWords {
				t.Errorf("the end waited for %s", d)
			}
			close(s.over)
			time.Sleep(time.Hour) // until the slow one has read all
		})
	}
}
