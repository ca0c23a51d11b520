package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/pprof/profile"
)

// mergeProfiles makes one profile of the processor profiles in dir, for the compiler
// (go.dev/doc/pgo). Of the machine that it was taken on nothing is left in it.
func mergeProfiles(dir, to string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.pprof"))
	if err != nil {
		return err
	}
	var all []*profile.Profile
	for _, file := range files {
		if strings.HasSuffix(file, "-heap.pprof") {
			continue
		}
		p, err := readProfile(file)
		if err != nil {
			return err
		}
		if len(p.Sample) > 0 {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return errors.New("no processor profile was taken")
	}
	merged, err := profile.Merge(all)
	if err != nil {
		return err
	}
	for _, m := range merged.Mapping {
		m.File, m.BuildID = "teleport", ""
	}
	merged.Comments, merged.TimeNanos = nil, 0
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(merged.Write(f), f.Close())
}

func readProfile(file string) (*profile.Profile, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return profile.Parse(f)
}
