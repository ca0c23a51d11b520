package cloudapp

// Clouds that apps may be.
const (
	cloudAWS   = "AWS"
	cloudAzure = "Azure"
	cloudGCP   = "GCP"
)
