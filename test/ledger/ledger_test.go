package ledger_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"teleport/test/ledger"
)

func TestTheLedgerSeesEveryError(t *testing.T) {
	all, err := io.ReadAll(&ledger.Source{Seed: 7, Size: 1000})
	if err != nil || len(all) != 1000 {
		t.Fatalf("%d, %v", len(all), err)
	}
	changed := bytes.Clone(all)
	changed[400] ^= 1
	for name, tc := range map[string]struct {
		stream []byte
		want   string
	}{
		"whole":    {all, ""},
		"lost":     {append(bytes.Clone(all[:300]), all[333:]...), "at position 300: 33 bytes were lost"},
		"repeated": {append(bytes.Clone(all[:300]), all[290:]...), "at position 300: 10 bytes came again"},
		"changed":  {changed, "at position 400"},
	} {
		c := ledger.Check{Seed: 7}
		var err error
		for b := tc.stream; len(b) > 0 && err == nil; b = b[min(len(b), 77):] {
			_, err = c.Write(b[:min(len(b), 77)])
		}
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
