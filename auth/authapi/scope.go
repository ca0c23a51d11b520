package authapi

import (
	"slices"

	"teleport/fault"
	"teleport/types"
)

// kindOf finds a kind that the API knows. Internal kinds do not exist here.
func kindOf(name string) (types.KindInfo, error) {
	k, err := types.KindByName(name)
	if err != nil {
		return types.KindInfo{}, err
	}
	if k.Internal {
		return types.KindInfo{}, fault.New(fault.NotFound, "there is no kind of resource called %q", name)
	}
	return k, nil
}

// replicaScope is what processes may read and watch: the policy that they
// decide from, and for proxies also what they route to. A node sees no users and
// no tokens; nobody sees internal kinds.
func replicaScope(id *types.Identity) []string {
	if id == nil || id.Kind != types.IdentityHost {
		return nil
	}
	if id.HasSystemRole(types.RoleAdmin) || id.HasSystemRole(types.RoleAuth) {
		var all []string
		for _, k := range types.Kinds() {
			if !k.Internal {
				all = append(all, k.Name)
			}
		}
		return all
	}
	scope := append(types.PolicyKinds(), types.KindCheckpoint)
	if id.HasSystemRole(types.RoleProxy) {
		scope = append(scope, types.KindNode, types.KindDatabaseServer, types.KindAppServer, types.KindAuthServer, types.KindSessionTracker, types.KindAppSession)
	}
	if id.HasSystemRole(types.RoleDb) {
		scope = append(scope, types.KindDatabase, types.KindHealthCheckConfig)
	}
	if id.HasSystemRole(types.RoleApp) {
		scope = append(scope, types.KindApp, types.KindHealthCheckConfig)
	}
	return scope
}

func inScope(id *types.Identity, kind string) bool { return slices.Contains(replicaScope(id), kind) }

// shownName is a document's name as events and messages may show it: of a token
// the name is the hash of its secret, of which people see the first characters.
func shownName(kind, name string) string {
	if kind == types.KindToken && len(name) > 8 {
		return name[:8] + "…"
	}
	return name
}
