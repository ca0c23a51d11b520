package main

import "testing"

func TestTickerCounts(t *testing.T) {
	for _, c := range []struct {
		name   string
		pieces []string
		next   int
		fails  bool
	}{
		{"in pieces", []string{"0\r\n1", "\r\n2\r", "\n3\r\n"}, 4, false},
		{"words between", []string{"0\r\nconnection lost, reconnecting…\r\n", "1\r\n"}, 2, false},
		{"half a line", []string{"0\r\n1"}, 1, false},
		{"one is lost", []string{"0\r\n2\r\n"}, 1, true},
		{"one comes twice", []string{"0\r\n0\r\n"}, 1, true},
	} {
		var tk ticker
		var err error
		for _, p := range c.pieces {
			if _, err = tk.count([]byte(p)); err != nil {
				break
			}
		}
		if tk.next != c.next || (err != nil) != c.fails {
			t.Errorf("%s: next %d, %v", c.name, tk.next, err)
		}
	}
}
