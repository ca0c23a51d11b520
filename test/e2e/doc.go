// Package e2e tells what people do with a cluster, with the programs that they
// use: the built commands, OpenSSH, tmux, curl, Chromium. One file holds one
// story; the cluster that it plays in is test/cluster's.
package e2e
