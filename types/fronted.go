package types

// Fronted is a resource that agents front under its name: a database, an app.
// Several agents may front one.
type Fronted interface {
	Resource
	// AllLabels merges static labels and the results of dynamic ones.
	AllLabels() map[string]string
}

// FrontedServer is such a resource as one agent fronts it. It is the presence
// document of the two.
type FrontedServer interface {
	Resource
	Of() Fronted
	Host() (uuid, hostname string)
	Health() *TargetHealth
}

var (
	_ FrontedServer = (*DatabaseServer)(nil)
	_ FrontedServer = (*AppServer)(nil)
)

// Of implements FrontedServer.
func (s *DatabaseServer) Of() Fronted { return &s.Spec.Database }

// Host implements FrontedServer.
func (s *DatabaseServer) Host() (uuid, hostname string) { return s.Spec.HostID, s.Spec.Hostname }

// Health implements FrontedServer.
func (s *DatabaseServer) Health() *TargetHealth { return &s.Status.TargetHealth }

// Of implements FrontedServer.
func (s *AppServer) Of() Fronted { return &s.Spec.App }

// Host implements FrontedServer.
func (s *AppServer) Host() (uuid, hostname string) { return s.Spec.HostID, s.Spec.Hostname }

// Health implements FrontedServer.
func (s *AppServer) Health() *TargetHealth { return &s.Status.TargetHealth }

// ServerKind is the kind of the documents by which agents announce resources of a
// kind; "" where there are none.
func ServerKind(kind string) string {
	switch kind {
	case KindDatabase:
		return KindDatabaseServer
	case KindApp:
		return KindAppServer
	}
	return ""
}
