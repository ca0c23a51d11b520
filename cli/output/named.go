package output

import (
	"io"

	"teleport/fault"
)

// Named is a writer whose failures name it, as a full disk is no defect of ours.
type Named struct {
	io.Writer
	Name string // a path, or "the output"
}

// Write implements io.Writer.
func (n Named) Write(p []byte) (int, error) {
	done, err := n.Writer.Write(p)
	return done, fault.Unwritable(err, n.Name)
}
