// Command teleport runs the services of a cluster: auth, proxy, SSH.
package main

import (
	"context"
	"os"

	"teleport/cli/teleportcmd"
)

func main() {
	os.Exit(teleportcmd.Run(context.Background(), os.Args[1:], teleportcmd.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
