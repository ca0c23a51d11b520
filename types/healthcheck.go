package types

import "time"

// HealthCheckConfig says how agents check whether what they front is there (kind
// health_check_config, v1). Of those that match a resource the first by name
// counts; a resource that none matches is not checked.
type HealthCheckConfig struct {
	Header
	Spec HealthCheckSpec `json:"spec"`
}

// HealthCheckSpec is how often an agent looks, and what it makes of it. Defaults
// are filled by Validate.
type HealthCheckSpec struct {
	Match              HealthCheckMatch `json:"match,omitzero"`
	Interval           Duration         `json:"interval,omitempty" doc:"From one check to the next: 30s by default, from 5s to 10m."`
	Timeout            Duration         `json:"timeout,omitempty" doc:"How long a resource has to answer: 5s by default, from 1s to the interval."`
	HealthyThreshold   int              `json:"healthy_threshold,omitempty" doc:"Checks in a row that succeed before a resource is healthy again: 2 by default, at most 10."`
	UnhealthyThreshold int              `json:"unhealthy_threshold,omitempty" doc:"Checks in a row that fail before a resource is unhealthy: 1 by default, at most 10."`
}

// HealthCheckMatch selects resources, by labels, an expression, or both, which
// must then both match. Of a kind that it has neither for it selects none.
type HealthCheckMatch struct {
	DBLabels            []LabelMatch `json:"db_labels,omitempty" doc:"Databases by label; all of the list must match."`
	DBLabelsExpression  string       `json:"db_labels_expression,omitempty" doc:"Databases by an expression over labels."`
	AppLabels           []LabelMatch `json:"app_labels,omitempty" doc:"Apps by label; all of the list must match."`
	AppLabelsExpression string       `json:"app_labels_expression,omitempty" doc:"Apps by an expression over labels."`
}

// LabelMatch is one label, and the values of which it must have one.
type LabelMatch struct {
	Name   string     `json:"name"`
	Values StringList `json:"values"`
}

// DefaultHealthCheck is the name of the configuration that a new cluster starts
// with. It matches everything.
const DefaultHealthCheck = "default"

// Bounds and defaults of checks.
const (
	minHealthInterval = 5 * time.Second
	maxHealthInterval = 10 * time.Minute
	minHealthTimeout  = time.Second
	maxHealthRun      = 10
)

// Validate implements Resource. It fills the defaults.
func (c *HealthCheckConfig) Validate() error {
	if err := c.check(KindHealthCheckConfig, &c.Spec); err != nil {
		return err
	}
	s := &c.Spec
	fillDuration(&s.Interval, 30*time.Second)
	fillDuration(&s.Timeout, min(5*time.Second, s.Interval.Std()))
	fillCount(&s.HealthyThreshold, 2)
	fillCount(&s.UnhealthyThreshold, 1)
	switch {
	case s.Interval.Std() < minHealthInterval || s.Interval.Std() > maxHealthInterval:
		return fieldFault("spec.interval", "%s is not between %s and %s", s.Interval.Std(), minHealthInterval, maxHealthInterval)
	case s.Timeout.Std() < minHealthTimeout || s.Timeout > s.Interval:
		return fieldFault("spec.timeout", "%s is not between %s and the interval, %s", s.Timeout.Std(), minHealthTimeout, s.Interval.Std())
	case s.HealthyThreshold > maxHealthRun:
		return fieldFault("spec.healthy_threshold", "is more than %d", maxHealthRun)
	case s.UnhealthyThreshold > maxHealthRun:
		return fieldFault("spec.unhealthy_threshold", "is more than %d", maxHealthRun)
	}
	return firstErr(checkMatches("spec.match.db_labels", s.Match.DBLabels), checkMatches("spec.match.app_labels", s.Match.AppLabels))
}

func checkMatches(path string, list []LabelMatch) error {
	for i, m := range list {
		path := IndexPath(path, i)
		switch {
		case m.Name == "":
			return fieldFault(path+".name", "is missing")
		case len(m.Values) == 0:
			return fieldFault(path+".values", "is missing")
		case m.Name == Wildcard && (len(m.Values) != 1 || m.Values[0] != Wildcard):
			return fieldFault(path+".values", "of the name %q must be %q", Wildcard, Wildcard)
		}
	}
	return nil
}

func fillCount(n *int, v int) {
	if *n == 0 {
		*n = v
	}
}

// TargetHealth is the outcome of an agent's checks of one resource.
type TargetHealth struct {
	Addr       string    `json:"addr,omitempty"`
	Protocol   string    `json:"protocol,omitempty" enum:"TCP"`
	Status     string    `json:"status,omitempty" enum:"unknown,disabled,initialized,healthy,unhealthy"`
	Since      time.Time `json:"transition_timestamp,omitzero"`
	Reason     string    `json:"transition_reason,omitempty"`
	LastError  string    `json:"transition_error,omitempty"`
	Message    string    `json:"message,omitempty"`
	ServerSays string    `json:"server_version,omitempty"` // as the database told it, where the protocol tells
}

// Kinds of health.
const (
	HealthHealthy     = "healthy"
	HealthUnknown     = "unknown"
	HealthInitialized = "initialized" // there is no result yet
	HealthDisabled    = "disabled"
	HealthUnhealthy   = "unhealthy"
)

// Reasons of a transition.
const (
	HealthReasonInitialized = "initialized"
	HealthReasonDisabled    = "disabled"
	HealthReasonThreshold   = "threshold_reached"
)

// Rank orders what several agents find of one resource, the best first: healthy,
// then what nobody knows of, then unhealthy.
func (h *TargetHealth) Rank() int {
	switch h.Status {
	case HealthHealthy:
		return 0
	case HealthUnhealthy:
		return 2
	}
	return 1
}

// String is the health for a person: the status, and what went wrong.
func (h *TargetHealth) String() string {
	switch {
	case h.Status == "" || h.Status == HealthInitialized:
		return HealthUnknown
	case h.Status == HealthUnhealthy && h.LastError != "":
		return h.Status + ": " + h.LastError
	}
	return h.Status
}

// validate takes words that this version does not know: they are an agent's, which
// may be newer.
func (h *TargetHealth) validate(path string) error {
	return firstErr(checkText(JoinPath(path, "addr"), h.Addr), checkText(JoinPath(path, "protocol"), h.Protocol), checkText(JoinPath(path, "status"), h.Status),
		checkText(JoinPath(path, "transition_reason"), h.Reason), checkText(JoinPath(path, "transition_error"), h.LastError),
		checkText(JoinPath(path, "message"), h.Message), checkText(JoinPath(path, "server_version"), h.ServerSays))
}
