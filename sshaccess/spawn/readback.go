package spawn

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// credentials is what the kernel says of a process: each of the four user and
// group ids, and the supplementary groups.
type credentials struct {
	uids, gids []uint32
	groups     []uint32
}

func readCredentials(pid int) (credentials, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return credentials{}, fmt.Errorf("read credentials back: %w", err)
	}
	return parseStatus(b)
}

func parseStatus(b []byte) (credentials, error) {
	var c credentials
	for line := range bytes.Lines(b) {
		key, rest, ok := strings.Cut(string(line), ":")
		if !ok {
			continue
		}
		var into *[]uint32
		switch key {
		case "Uid":
			into = &c.uids
		case "Gid":
			into = &c.gids
		case "Groups":
			into = &c.groups
		default:
			continue
		}
		for _, f := range strings.Fields(rest) {
			n, err := strconv.ParseUint(f, 10, 32)
			if err != nil {
				return credentials{}, fmt.Errorf("read credentials back: %s: %w", key, err)
			}
			*into = append(*into, uint32(n))
		}
	}
	if len(c.uids) != 4 || len(c.gids) != 4 {
		return credentials{}, fmt.Errorf("read credentials back: %d user and %d group ids", len(c.uids), len(c.gids))
	}
	return c, nil
}

// matches compares all ids. A process that could not switch groups keeps its own.
func (c credentials) matches(a Account) error {
	for i := range 4 {
		if c.uids[i] != a.UID || c.gids[i] != a.GID {
			return fmt.Errorf("uid %v gid %v, want %d and %d", c.uids, c.gids, a.UID, a.GID)
		}
	}
	if os.Geteuid() != 0 {
		return nil
	}
	got, want := sortedSet(c.groups), sortedSet(a.Groups)
	if !slices.Equal(got, want) {
		return fmt.Errorf("groups %v, want %v", got, want)
	}
	return nil
}

func sortedSet(in []uint32) []uint32 {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}
