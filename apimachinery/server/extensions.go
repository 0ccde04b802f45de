package server

import (
	"context"

	"github.com/bedplate/bedplate/apimachinery/server/discovery"
)

// Extensions are groups and versions that other servers have. Nothing but Schema may block, and all may be called
// concurrently.
type Extensions interface {
	discovery.Source
	// Schemas are the hashes of OpenAPI v3 documents that extensions have, by path ("apis/metrics.k8s.io/v1beta1"). It
	// must not be changed.
	Schemas() map[string]string
	// Schema is such a document, JSON.
	Schema(ctx context.Context, path string) ([]byte, error)
}
