package types

// Release is the version of this program: major.minor.patch. Processes of one
// cluster may differ by one minor version. Nothing changes it but the linker:
// make build VERSION=…
var Release = "0.1.0"

// MinClientVersion is the oldest tsh and the oldest agent that this version serves.
const MinClientVersion = "0.1.0"
