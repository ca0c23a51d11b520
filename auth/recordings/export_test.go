package recordings

// Unsettled reports whether bytes of a recording under way could be lost with the
// machine's power.
func (s *Service) Unsettled(id string) bool {
	e := s.lookup(id)
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unsynced || e.created
}
