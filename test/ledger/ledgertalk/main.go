// Command ledgertalk is the far end of a conversation of ledgers, in a shell or
// behind a port: it says one stream, checks the other, and stops when there is
// no more to hear. Its last line is "heard N said M".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"

	"teleport/test/ledger"
)

func main() {
	listen := flag.String("listen", "", "take one connection at `address` instead of standard input and output")
	t := ledger.Talker{Hang: true}
	flag.Uint64Var(&t.In, "in", 1, "seed of what is heard")
	flag.Uint64Var(&t.Out, "out", 2, "seed of what is said")
	flag.IntVar(&t.Rate, "rate", 200_000, "bytes per second")
	flag.Parse()
	if err := run(t, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func run(t ledger.Talker, listen string) error {
	var r io.Reader = os.Stdin
	var w io.WriteCloser = os.Stdout
	if listen != "" {
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			return err
		}
		defer ln.Close()
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		defer c.Close()
		r, w = c, ledger.HalfClose(c)
	}
	heard, said, err := t.Run(context.Background(), r, w)
	_, werr := fmt.Fprintf(os.Stderr, "heard %d said %d\n", heard, said)
	return errors.Join(err, werr)
}
