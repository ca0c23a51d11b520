// Command tsh is the client for people: see tsh --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"teleport/cli/tshcmd"
	"teleport/maxprocs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go maxprocs.Follow(ctx, 1)
	code := tshcmd.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())
	stop()
	os.Exit(code)
}
