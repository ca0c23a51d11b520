package config

import (
	"math"
	"strconv"
	"strings"

	"teleport/fault"
)

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}}

// parseSize reads "10GB", "512 MB", "100000B"; "" is 0. Units are of 1024.
func parseSize(key, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(strings.ToUpper(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err == nil && n > 0 && n <= math.MaxInt64/u.bytes {
			return n * u.bytes, nil
		}
		break
	}
	return 0, fault.New(fault.Invalid, "%s: %q is not a size", key, text).WithHint("Write a number with its unit, such as 10GB or 512MB.")
}
