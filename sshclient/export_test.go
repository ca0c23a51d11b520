package sshclient

// ParseSOCKS is the parser of outside bytes, for the fuzzer.
var ParseSOCKS = parseSOCKS
