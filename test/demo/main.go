// Command demo shows the main job on this machine: a cluster, a host behind a
// firewall that joins it, a person who accepts an invite, logs in and runs a
// command there, and the audit log that tells it. It uses the built commands as
// a person would, prints what it runs, and then leaves the cluster running.
//
// Everything lives in a temporary directory and on free loopback ports; both are
// gone when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// tourTime is how long the whole tour may take before it counts as failed.
const tourTime = 3 * time.Minute

func main() {
	// The kernel ends the cluster's processes when the thread that started them
	// ends: keep it as long as the program.
	runtime.LockOSThread()
	bin := flag.String("bin", "bin", "directory of the built commands")
	once := flag.Bool("once", false, "end after the tour instead of leaving the cluster running")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *bin, *once)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, once bool) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	w, err := newWorld(bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	t := &tour{world: w, user: "alice"}
	limited, cancel := context.WithTimeout(ctx, tourTime)
	defer cancel()
	if err := t.walk(limited); err != nil {
		if ctx.Err() != nil {
			return errors.New("it was interrupted")
		}
		w.printLogs(os.Stderr)
		return err
	}
	if once {
		fmt.Println("\nThe demo succeeded.")
		return nil
	}
	t.invite(os.Stdout)
	return t.hold(ctx)
}
