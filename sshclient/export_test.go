package sshclient

// ParseSOCKS is the parser of outside bytes, for the fuzzer.
var ParseSOCKS = parseSOCKS

// Algorithms is compared with the server's.
var Algorithms = algorithms

// InLargePieces is how output reaches its writer.
var InLargePieces = inLargePieces
