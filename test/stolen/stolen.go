// Package stolen holds the stolen-credential kit: a whole cluster in one process,
// every sort of credential that somebody could steal or make up, and every place
// that takes one, in a table of what gets in where. A new acceptor that the kit
// does not try fails its test.
package stolen
