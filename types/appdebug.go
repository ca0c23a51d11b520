package types

// DebugAppName is the name of the app that DebugApp makes.
const DebugAppName = "dumper"

// DebugAppAddr is where agents reach it: within themselves, at a name that no
// resolver knows (RFC 6761).
const DebugAppAddr = DebugAppName + ".invalid:80"

// DebugApp is an app that shows the headers which apps get: debug_app of an agent's
// file.
func DebugApp() *App {
	a := &App{Spec: AppSpec{URI: "http://" + DebugAppName + ".invalid"}}
	a.Metadata.Name, a.Metadata.Description = DebugAppName, "Shows the headers that apps get"
	return a
}
