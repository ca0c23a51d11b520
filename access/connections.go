package access

// ConnectionLimit returns how many connections the bearer of a request may have
// open in the whole cluster at once, by the roles that they have now; 0 is no
// limit. What the request asks for does not matter.
func ConnectionLimit(r Request) int {
	r.Live = true // whatever an older certificate says, the roles of now count
	return MergeOptions(newDecider(&r).roles, r.Settings).MaxConnections
}
