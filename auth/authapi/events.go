package authapi

import (
	"teleport/api/rpc"
	"teleport/types"
	"teleport/types/event"
)

// changeEvent is the event of a written document; old is nil for a new one.
func changeEvent(c rpc.Caller, old, doc types.Resource) event.Event {
	h := doc.Head()
	user, res, conn := who(c), changed(c, h), from(c)
	switch d := doc.(type) {
	case *types.User:
		if old == nil {
			return &event.UserCreate{User: user, Resource: res, Connection: conn, Roles: d.Spec.Roles, Connector: "local"}
		}
		return &event.UserUpdate{User: user, Resource: res, Connection: conn, Roles: d.Spec.Roles, Connector: "local"}
	case *types.Role:
		if old == nil {
			return &event.RoleCreated{User: user, Resource: res, Connection: conn}
		}
		return &event.RoleUpdated{User: user, Resource: res, Connection: conn}
	case *types.Lock:
		return &event.LockCreated{User: user, Resource: res, Connection: conn,
			Target: event.LockTarget(d.Spec.Target), LockMessage: d.Spec.Message}
	case *types.AuthPreference:
		return &event.AuthPrefUpdate{User: user, Resource: res, Connection: conn}
	case *types.NetworkingConfig:
		return &event.NetConfigUpdate{User: user, Resource: res, Connection: conn}
	case *types.RecordingConfig:
		return &event.RecConfigUpdate{User: user, Resource: res, Connection: conn}
	}
	change := event.ResourceChange{ResourceKind: h.Kind, Revision: h.Metadata.Revision}
	if d, ok := doc.(*types.App); ok {
		app := event.App{AppName: h.Metadata.Name, AppURI: d.Spec.URI, AppPublicAddr: d.Spec.PublicAddr}
		if old == nil {
			return &event.AppCreate{User: user, Resource: res, Connection: conn, ResourceChange: change, App: app}
		}
		return &event.AppUpdate{User: user, Resource: res, Connection: conn, ResourceChange: change, App: app}
	}
	if old == nil {
		return &event.ResourceCreated{User: user, Resource: res, Connection: conn, ResourceChange: change}
	}
	return &event.ResourceUpdated{User: user, Resource: res, Connection: conn, ResourceChange: change}
}

// deleteEvent is the event of a removed document.
func deleteEvent(c rpc.Caller, old types.Resource) event.Event {
	h := old.Head()
	user, res, conn := who(c), changed(c, h), from(c)
	switch d := old.(type) {
	case *types.User:
		return &event.UserDelete{User: user, Resource: res, Connection: conn}
	case *types.Role:
		return &event.RoleDeleted{User: user, Resource: res, Connection: conn}
	case *types.Lock:
		return &event.LockDeleted{User: user, Resource: res, Connection: conn, Target: event.LockTarget(d.Spec.Target)}
	case *types.App:
		return &event.AppDelete{User: user, Resource: res, Connection: conn,
			ResourceChange: event.ResourceChange{ResourceKind: h.Kind, Revision: h.Metadata.Revision}}
	}
	return &event.ResourceDeleted{User: user, Resource: res, Connection: conn,
		ResourceChange: event.ResourceChange{ResourceKind: h.Kind, Revision: h.Metadata.Revision}}
}

func changed(c rpc.Caller, h *types.Header) event.Resource {
	return event.Resource{Name: shownName(h.Kind, h.Metadata.Name), Expires: h.Metadata.Expires, UpdatedBy: who(c).User}
}
