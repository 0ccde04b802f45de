package kinds

import (
	"slices"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
	"github.com/bedplate/bedplate/apimachinery/kinds/autoscaling"
	"github.com/bedplate/bedplate/apimachinery/kinds/batch"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
	"github.com/bedplate/bedplate/apimachinery/kinds/networking"
	"github.com/bedplate/bedplate/apimachinery/kinds/policy"
	"github.com/bedplate/bedplate/apimachinery/kinds/rbac"
)

// All returns every built-in kind that is stored: core, apps, autoscaling, batch, coordination, discovery, networking,
// policy and RBAC. The result is new each time, and the caller may change it and add kinds of its own. Left out are the
// reviews of access and tokens, which need a server to answer them.
func All() []apimachinery.Resource {
	return slices.Concat(
		core.Resources(), apps.Resources(), autoscaling.Resources(), batch.Resources(), coordination.Resources(),
		discovery.Resources(), networking.Resources(), policy.Resources(), rbac.Resources(),
	)
}
