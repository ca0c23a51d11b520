package event

import "time"

// Types and codes about apps.
const (
	TypeAppStart       = "app.session.start"
	CodeAppStart       = "T2007I"
	CodeAppStartFail   = "T2007E"
	TypeAppChunk       = "app.session.chunk"
	CodeAppChunk       = "T2008I"
	TypeAppRequest     = "app.session.request"
	CodeAppRequest     = "T2009I"
	CodeAppRequestFail = "T2009E"
	TypeAppEnd         = "app.session.end"
	CodeAppEnd         = "T2011I"
	TypeAppCreate      = "app.create"
	CodeAppCreate      = "TAP03I"
	TypeAppUpdate      = "app.update"
	CodeAppUpdate      = "TAP04I"
	TypeAppDelete      = "app.delete"
	CodeAppDelete      = "TAP05I"
)

// App says which app.
type App struct {
	AppName       string `json:"app_name,omitempty" class:"public"`
	AppURI        string `json:"app_uri,omitempty" class:"public"`
	AppPublicAddr string `json:"app_public_addr,omitempty" class:"public"`
	AppTargetPort int    `json:"app_target_port,omitempty" class:"public"` // of a tcp app
}

// OfApp is implemented by the events of a session with an app: it gives the parts
// that all of them share, to be filled in place.
type OfApp interface {
	OfApp() (*User, *Session, *Server, *App)
}

// inApp is those parts.
type inApp struct {
	User
	Session
	Server
	App
}

// OfApp implements the interface of that name.
func (a *inApp) OfApp() (*User, *Session, *Server, *App) {
	return &a.User, &a.Session, &a.Server, &a.App
}

// AppStart opens a session with an app at one agent, and carries the decision. A
// refused one has the code CodeAppStartFail, and no end.
type AppStart struct {
	Meta
	inApp
	Connection
	Status
	Recording string   `json:"session_recording,omitempty" class:"public"`
	Decision  Decision `json:"decision" class:"struct"`
	Gateway   *Gateway `json:"gateway,omitempty" class:"struct"`
}

// AppChunk begins a recording of some minutes of a session. Its id is that of the
// recording.
type AppChunk struct {
	Meta
	inApp
	ChunkID   string `json:"session_chunk_id" class:"public"`
	Recording string `json:"session_recording,omitempty" class:"public"`
}

// AppRequest is one request and how the app answered it. Of those that found no
// answer, or were refused here, the code is CodeAppRequestFail.
type AppRequest struct {
	Meta
	inApp
	Status
	Method     string `json:"method" class:"public"`
	Path       string `json:"path" class:"sensitive"`
	Query      string `json:"raw_query,omitempty" class:"sensitive"`
	StatusCode int    `json:"status_code,omitempty" class:"public"`
	RequestID  string `json:"request_id,omitempty" class:"public"` // as pages of errors show it
	Upgrade    string `json:"upgrade,omitempty" class:"public"`    // websocket
	// Of requests to clouds.
	AWSRegion      string `json:"aws_region,omitempty" class:"public"`
	AWSService     string `json:"aws_service,omitempty" class:"public"`
	AWSHost        string `json:"aws_host,omitempty" class:"public"`
	AWSAction      string `json:"aws_action,omitempty" class:"public"`
	AWSAssumedRole string `json:"aws_assumed_role,omitempty" class:"public"`
	CloudHost      string `json:"cloud_host,omitempty" class:"public"`
	AzureIdentity  string `json:"azure_identity,omitempty" class:"public"`
	GCPAccount     string `json:"gcp_service_account,omitempty" class:"public"`
}

// AppEnd closes a session with an app at one agent.
type AppEnd struct {
	Meta
	inApp
	Connection
	Start    time.Time `json:"session_start" class:"public"`
	Stop     time.Time `json:"session_stop" class:"public"`
	Requests int64     `json:"requests,omitempty" class:"public"`
	Sent     int64     `json:"bytes_sent,omitempty" class:"public"`     // to the app, of a tcp app
	Received int64     `json:"bytes_received,omitempty" class:"public"` // from it
	Reason   string    `json:"reason,omitempty" class:"public"`
}

// AppCreate is an app that was registered.
type AppCreate struct {
	Meta
	User
	Resource
	Connection
	ResourceChange
	App
}

// AppUpdate is a registered app that was changed.
type AppUpdate struct {
	Meta
	User
	Resource
	Connection
	ResourceChange
	App
}

// AppDelete is a registered app that was removed.
type AppDelete struct {
	Meta
	User
	Resource
	Connection
	ResourceChange
}
