// Command tctl administers a cluster.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"teleport/cli/tctlcmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := tctlcmd.Run(ctx, os.Args[1:], tctlcmd.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv})
	stop()
	os.Exit(code)
}
