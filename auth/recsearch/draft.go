package recsearch

import (
	"bytes"
	"errors"
	"io"
	"os"

	"teleport/fault"
)

// draft is an index that is being made: in memory as long as it is short, which most
// are, else in a file without a name, of which nothing is left whatever happens.
type draft struct {
	dir  string
	buf  []byte
	file *os.File // nil: it is in buf
}

// shortDraft bounds what is kept in memory.
const shortDraft = 1 << 20

// Write implements io.Writer.
func (d *draft) Write(p []byte) (int, error) {
	if d.file == nil && len(d.buf)+len(p) <= shortDraft {
		d.buf = append(d.buf, p...)
		return len(p), nil
	}
	if d.file == nil {
		if err := d.spill(); err != nil {
			return 0, err
		}
	}
	n, err := d.file.Write(p)
	if err != nil {
		err = fault.Unwritable(err, d.dir)
	}
	return n, err
}

// spill moves what is there into a file.
func (d *draft) spill() error {
	f, err := os.CreateTemp(d.dir, "index")
	if err != nil {
		return fault.Unwritable(err, d.dir)
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = f.Write(d.buf)
	}
	if err != nil {
		return errors.Join(fault.Unwritable(err, f.Name()), f.Close())
	}
	d.file, d.buf = f, nil
	return nil
}

// whole is all that was written, from the beginning, and its size.
func (d *draft) whole() (io.ReadSeeker, int64, error) {
	if d.file == nil {
		return bytes.NewReader(d.buf), int64(len(d.buf)), nil
	}
	size, err := d.file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = d.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, 0, fault.Unwritable(err, d.dir)
	}
	return d.file, size, nil
}

// close frees what the draft holds.
func (d *draft) close() {
	if d.file != nil {
		_ = d.file.Close() // it was stored, or is of no use
	}
}
