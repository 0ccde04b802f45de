package apitest

import (
	"errors"
	"log/slog"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/crd"
	"github.com/bedplate/bedplate/storage"
)

// Config says what API to serve. The zero value is that of the built-in kinds, in memory, on a free port of 127.0.0.1.
type Config struct {
	// Kinds are kinds of your own that are declared in Go.
	Kinds []apimachinery.Resource
	// CRDs are definitions that are installed before anything else happens, and CRDPaths files and folders (not those
	// below) of YAML or JSON in which definitions are; other objects in them are left alone.
	CRDs     []*apiext.CustomResourceDefinition
	CRDPaths []string
	// Convert has Go functions that convert the objects of definitions among their versions, by kind.
	Convert map[schema.GroupKind]crd.Convert
	// Webhooks are the admission webhooks that the API calls.
	Webhooks Webhooks
	// RBAC lets users do only what roles allow them; administrators may do anything. False: everybody may.
	RBAC bool
	// Controllers empties namespaces that are deleted, and collects garbage. False: as with envtest, nothing does.
	Controllers bool
	// Admission are plugins of your own, asked after the built-in ones.
	Admission []apimachinery.Plugin
	// Backend is where to store, which the caller closes. Nil: memory.
	Backend storage.Backend
	// Log hears of everything worth a line. Nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range c.CRDs {
		if d == nil {
			return errors.New("one of the CRDs is nil")
		}
	}
	return c.Webhooks.validate()
}
