package config

import "testing"

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "1B": 1, "10GB": 10 << 30, "512 MB": 512 << 20, "3kb": 3 << 10, "2TB": 2 << 40} {
		if got, err := parseSize("k", text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"0GB", "-1GB", "10", "GB", "1.5GB", "10 XB", "99999999999999999GB", "9000000000TB"} {
		if got, err := parseSize("k", text); err == nil {
			t.Errorf("%q passes for %d", text, got)
		}
	}
}
