package types

// Release is the version of this program: major.minor.patch. Processes of one
// cluster may differ by one minor version.
const Release = "0.1.0"
