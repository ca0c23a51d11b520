package renewal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// token makes numbered tokens of an hour; fail makes the next makings fail.
type token struct {
	mu   sync.Mutex
	made int
	fail error
	slow time.Duration
}

func (k *token) make(context.Context) (string, time.Time, error) {
	time.Sleep(k.slow)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return "", time.Time{}, k.fail
	}
	k.made++
	return fmt.Sprint(k.made), time.Now().Add(time.Hour), nil
}

func TestRenewedOffThePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Cache[string, string]
		k := &token{slow: time.Second}
		get := func(want string, within time.Duration) {
			t.Helper()
			start := time.Now()
			got, err := c.Get(t.Context(), "a", k.make)
			if err != nil || got != want || time.Since(start) > within {
				t.Fatalf("got %q, %v after %v; want %q", got, err, time.Since(start), want)
			}
		}
		get("1", time.Second)
		get("1", 0)
		time.Sleep(29 * time.Minute)
		get("1", 0)
		time.Sleep(2 * time.Minute)
		get("1", 0) // begins the renewal, and does not wait
		c.Wait()
		get("2", 0)
		k.fail = errors.New("down")
		time.Sleep(40 * time.Minute)
		for range 10 {
			get("2", 0)
			time.Sleep(time.Minute)
		}
		time.Sleep(10 * time.Minute)
		if _, err := c.Get(t.Context(), "a", k.make); !errors.Is(err, k.fail) {
			t.Fatalf("an expired one is handed out: %v", err)
		}
		k.fail = nil
		get("3", time.Second)
		c.Wait()
	})
}

func TestOneMakingForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Cache[int, string]
		k := &token{slow: time.Second}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Get(gone, 1, k.make); !errors.Is(err, context.Canceled) {
			t.Errorf("the first caller has gone: %v", err)
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if v, err := c.Get(t.Context(), 1, k.make); v != "1" || err != nil {
					t.Errorf("got %q, %v", v, err)
				}
			})
		}
		all.Wait()
	})
}

func TestOldKeysAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Cache[int, string]
		k := &token{}
		for i := range sweepAt {
			if _, err := c.Get(t.Context(), i, k.make); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour)
		if _, err := c.Get(t.Context(), sweepAt, k.make); err != nil || len(c.entries) != 1 {
			t.Errorf("%d are kept, %v", len(c.entries), err)
		}
		c.Wait()
	})
}
