// Package controllers gathers the controllers of a cluster; each has a package of its own and can be added alone.
package controllers

import (
	"errors"

	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers/deployment"
	"github.com/bedplate/bedplate/reconcile/controllers/garbagecollector"
	"github.com/bedplate/bedplate/reconcile/controllers/namespace"
	"github.com/bedplate/bedplate/reconcile/controllers/replicaset"
	"github.com/bedplate/bedplate/reconcile/controllers/rootca"
	"github.com/bedplate/bedplate/reconcile/controllers/serviceaccount"
	"github.com/bedplate/bedplate/reconcile/controllers/token"
)

// Config says what the controllers need beside the API.
type Config struct {
	// CA is the certificate of the API server's authority, in PEM. Empty: it is not published.
	CA []byte
	// Issuer makes tokens for secrets. nil: secrets get none.
	Issuer token.Issuer
}

// Add adds them all to a manager whose client knows the kinds of core and apps.
func Add(m *reconcile.Manager, c Config) error {
	garbagecollector.Add(m)
	errs := []error{deployment.Add(m), replicaset.Add(m), namespace.Add(m), serviceaccount.Add(m)}
	if len(c.CA) > 0 {
		errs = append(errs, rootca.Add(m, c.CA))
	}
	if c.Issuer != nil {
		errs = append(errs, token.Add(m, token.Config{Issuer: c.Issuer, CA: c.CA}))
	}
	return errors.Join(errs...)
}
