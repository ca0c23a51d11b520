// Command teleport-userchild is the small program that the SSH service runs as
// the login user to serve files and make sockets. It is built first and embedded
// in teleport; nobody calls it by hand. See sshaccess/userchild.
package main

import (
	"os"

	"teleport/sshaccess/userchild"
)

func main() { os.Exit(userchild.Main(os.Args)) }
