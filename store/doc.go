// Package store is what the system knows: documents of every kind of
// types, typed, validated and revisioned over a backend, and the Replica, the
// watched copy of a part of them from which agents and proxies decide without
// a call to auth.
//
// A document lives under /<kind>/[sub_kind/]<name>, as the JSON of its struct
// without metadata.revision, which is the backend's revision of the key in an
// opaque text form. Documents enter by strict decoding and validation. Watches
// carry the stored bytes, so that a reader one version older sees what it does
// not understand: it keeps such a document and marks it, and a policy (role,
// lock) with a field it does not know counts against its subject and for
// nobody, without touching the others.
package store
