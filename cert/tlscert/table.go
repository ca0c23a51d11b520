package tlscert

import (
	"encoding/asn1"
	"slices"

	"teleport/types"
)

// The private table: every object identifier of ours, once. Numbers are never
// used again for something else; a new one is added at the end of its group.
//
//	subject attributes (UTF8String)
//	  2.5.4.3   CN           user name; hosts: UUID.cluster
//	  2.5.4.10  O            role name, or a host's system role; repeated, in order
//	  2.5.4.11  OU           usage restriction, "usage:<family>"; repeated, in order
//	  2.5.4.7   L            login; repeated, in order
//	  2.5.4.9   street       cluster of the route
//	  2.5.4.17  postalCode   traits, JSON object of string lists
//	  1.3.9999.1.7           cluster where the identity originated
//	  1.3.9999.1.9           client address of the login
//	extension, not critical
//	  1.3.9999.4.1           OCTET STRING: JSON of whatever has no attribute above
//	extended key usages, exactly one of which marks the kind
//	  1.3.9999.5.1           user
//	  1.3.9999.5.2           host
//	  1.3.9999.5.3           bridge
var (
	oidCN       = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidRole     = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidUsage    = asn1.ObjectIdentifier{2, 5, 4, 11}
	oidLogin    = asn1.ObjectIdentifier{2, 5, 4, 7}
	oidRoute    = asn1.ObjectIdentifier{2, 5, 4, 9}
	oidTraits   = asn1.ObjectIdentifier{2, 5, 4, 17}
	oidCluster  = asn1.ObjectIdentifier{1, 3, 9999, 1, 7}
	oidLoginIP  = asn1.ObjectIdentifier{1, 3, 9999, 1, 9}
	oidIdentity = asn1.ObjectIdentifier{1, 3, 9999, 4, 1}
)

// usagePrefix opens the OU of a usage restriction.
const usagePrefix = "usage:"

type kindMark struct {
	kind types.IdentityKind
	oid  asn1.ObjectIdentifier
}

var kindMarks = []kindMark{
	{types.IdentityUser, asn1.ObjectIdentifier{1, 3, 9999, 5, 1}},
	{types.IdentityHost, asn1.ObjectIdentifier{1, 3, 9999, 5, 2}},
	{types.IdentityBridge, asn1.ObjectIdentifier{1, 3, 9999, 5, 3}},
}

func markOf(kind types.IdentityKind) (asn1.ObjectIdentifier, bool) {
	i := slices.IndexFunc(kindMarks, func(m kindMark) bool { return m.kind == kind })
	if i < 0 {
		return nil, false
	}
	return kindMarks[i].oid, true
}

// kindOf finds the one mark among a certificate's usages. None, two, or any usage
// beside it that is not known make it no kind at all.
func kindOf(usages []asn1.ObjectIdentifier) (types.IdentityKind, bool) {
	if len(usages) != 1 {
		return "", false
	}
	i := slices.IndexFunc(kindMarks, func(m kindMark) bool { return m.oid.Equal(usages[0]) })
	if i < 0 {
		return "", false
	}
	return kindMarks[i].kind, true
}
