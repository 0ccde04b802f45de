package bedplate

import (
	"context"
	"errors"
	"slices"

	"github.com/bedplate/bedplate/apimachinery/kinds"
	"github.com/bedplate/bedplate/apimachinery/kinds/apiextensions"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/audit"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/seal/kubernetes"
)

// seal puts the seal that the configuration wants around the store.
func (p *ControlPlane) seal(ctx context.Context, b storage.Backend) (storage.Backend, error) {
	if p.c.Encryption == "" {
		return b, nil
	}
	var at []kubernetes.Resource
	for _, r := range slices.Concat(kinds.All(), apiextensions.Resources(), p.c.Resources) {
		at = append(at, kubernetes.Resource{Group: r.Name.Group, Name: r.Name.Resource, Prefix: r.Prefix})
	}
	keys, err := kubernetes.Open(kubernetes.Config{
		File: p.c.Encryption, Reload: p.c.EncryptionReload, Resources: at, Server: "bedplate", Log: p.c.Log, Registerer: p.c.Registerer,
	})
	if err != nil {
		return nil, err
	}
	sealed, err := keys.Seal(b)
	if err != nil {
		return nil, err
	}
	p.keys = keys
	return sealed.Backend(), p.layers.start(ctx, "encryption", keys.Run, keys.Ready())
}

var errUnfinished = errors.New("not finished")

// checks are what /readyz and /healthz ask beside the server's own, under Kubernetes' names.
func (p *ControlPlane) checks(custom <-chan struct{}) map[string]func(context.Context) error {
	done := func(c <-chan struct{}) func(context.Context) error {
		return func(context.Context) error {
			select {
			case <-c:
				return nil
			default:
				return errUnfinished
			}
		}
	}
	all := map[string]func(context.Context) error{
		"poststarthook/crd-informer-synced":                          done(custom),
		"poststarthook/rbac/bootstrap-roles":                         done(p.policy),
		"poststarthook/scheduling/bootstrap-system-priority-classes": done(p.policy),
	}
	if p.keys != nil {
		all["kms-providers"] = p.keys.Check
	}
	return all
}

// audit starts the audit; nil if there is none.
func (p *ControlPlane) audit(ctx context.Context) (server.Auditor, error) {
	if p.c.Audit == nil {
		return nil, nil
	}
	c := *p.c.Audit
	if c.Log == nil {
		c.Log = p.c.Log
	}
	if c.Registerer == nil {
		c.Registerer = p.c.Registerer
	}
	a, err := audit.New(c)
	if err != nil {
		return nil, err
	}
	return a, p.layers.start(ctx, "audit", a.Run, nil)
}
