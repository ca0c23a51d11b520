package memkv_test

import (
	"testing"

	"teleport/backend"
	"teleport/backend/backendtest"
	"teleport/backend/memkv"
)

func TestConformance(t *testing.T) {
	backendtest.Test(t, func(t *testing.T) backend.Backend {
		return memkv.New(memkv.Options{History: backendtest.Retain})
	})
}
