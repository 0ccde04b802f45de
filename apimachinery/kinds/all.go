package kinds

import (
	"slices"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/admissionregistration"
	"github.com/bedplate/bedplate/apimachinery/kinds/apiregistration"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
	"github.com/bedplate/bedplate/apimachinery/kinds/autoscaling"
	"github.com/bedplate/bedplate/apimachinery/kinds/batch"
	"github.com/bedplate/bedplate/apimachinery/kinds/certificates"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
	"github.com/bedplate/bedplate/apimachinery/kinds/flowcontrol"
	"github.com/bedplate/bedplate/apimachinery/kinds/networking"
	"github.com/bedplate/bedplate/apimachinery/kinds/node"
	"github.com/bedplate/bedplate/apimachinery/kinds/podcertificates"
	"github.com/bedplate/bedplate/apimachinery/kinds/policy"
	"github.com/bedplate/bedplate/apimachinery/kinds/rbac"
	"github.com/bedplate/bedplate/apimachinery/kinds/resource"
	"github.com/bedplate/bedplate/apimachinery/kinds/resource/taintrule"
	"github.com/bedplate/bedplate/apimachinery/kinds/scheduling"
	"github.com/bedplate/bedplate/apimachinery/kinds/storage"
	"github.com/bedplate/bedplate/apimachinery/kinds/storagemigration"
)

// Config is what some kinds need of others. The zero value works.
type Config struct {
	Admission admissionregistration.Config
	Devices   resource.Config
}

// All returns every built-in kind that is stored, without what they need of others: see [With].
func All() []apimachinery.Resource { return With(Config{}) }

// With returns every built-in kind that is stored. The result is new each time, and the caller may change it and add
// kinds of its own. Left out is what needs a server: the reviews of access and tokens, bindings and component statuses,
// and CustomResourceDefinition (server/crd).
func With(c Config) []apimachinery.Resource {
	return slices.Concat(
		core.Resources(), apps.Resources(), autoscaling.Resources(), batch.Resources(), policy.Resources(), coordination.Resources(), discovery.Resources(), networking.Resources(), rbac.Resources(),
		admissionregistration.Resources(c.Admission), apiregistration.Resources(), flowcontrol.Resources(),
		resource.Resources(c.Devices), taintrule.Resources(),
		certificates.Resources(), podcertificates.Resources(), node.Resources(), scheduling.Resources(), storage.Resources(), storagemigration.Resources(),
	)
}
