package audit

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"teleport/fault"
	"teleport/wholefile"
)

func generationDir(spool string, g uint64) string {
	return filepath.Join(spool, strconv.FormatUint(g, 10))
}

// claimGeneration makes the directory of a generation: the given one, or the
// one after the highest that was ever used here.
func claimGeneration(spool string, g uint64) (uint64, error) {
	next := filepath.Join(spool, "next")
	if g == 0 {
		g = 1
		if b, err := os.ReadFile(next); err == nil {
			if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil {
				g = n
			}
		}
		entries, err := os.ReadDir(spool)
		if err != nil {
			return 0, diskFault(err, "the audit spool cannot be read", spool)
		}
		for _, e := range entries {
			name, _, _ := strings.Cut(e.Name(), ".")
			if n, err := strconv.ParseUint(name, 10, 64); err == nil && n >= g {
				g = n + 1
			}
		}
	}
	err := os.Mkdir(generationDir(spool, g), 0o700)
	if errors.Is(err, os.ErrExist) {
		return 0, fault.New(fault.AlreadyExists, "audit generation %d was used before", g)
	}
	if err == nil {
		err = wholefile.Write(next, []byte(strconv.FormatUint(g+1, 10)+"\n"), 0o600)
	}
	if err != nil {
		return 0, diskFault(err, "the audit spool cannot be made", spool)
	}
	return g, nil
}
