// Package web carries the built web UI inside the binary. Its source is the rest
// of this folder (React, TypeScript, Vite); make web builds it into dist.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Assets returns the built files. A binary that was built without them has none,
// and says so when a page is asked for.
func Assets() fs.FS {
	f, err := fs.Sub(dist, "dist")
	if err != nil { // dist is a constant and valid path
		return dist
	}
	return f
}
