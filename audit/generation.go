package audit

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"teleport/fault"
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
		err = replaceFile(next, []byte(strconv.FormatUint(g+1, 10)+"\n"))
	}
	if err != nil {
		return 0, diskFault(err, "the audit spool cannot be made", spool)
	}
	return g, nil
}

// replaceFile writes a small file whole or not at all.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}
