package blobtest_test

import (
	"testing"

	"teleport/blob"
	"teleport/blob/blobtest"
)

func TestMemory(t *testing.T) {
	blobtest.Test(t, func(*testing.T) blob.Store { return blobtest.NewMemory() })
}
