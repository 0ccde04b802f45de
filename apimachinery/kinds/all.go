package kinds

import (
	"slices"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
	"github.com/bedplate/bedplate/apimachinery/kinds/certificates"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
	"github.com/bedplate/bedplate/apimachinery/kinds/networking"
	"github.com/bedplate/bedplate/apimachinery/kinds/node"
	"github.com/bedplate/bedplate/apimachinery/kinds/podcertificates"
	"github.com/bedplate/bedplate/apimachinery/kinds/rbac"
	"github.com/bedplate/bedplate/apimachinery/kinds/scheduling"
	"github.com/bedplate/bedplate/apimachinery/kinds/storage"
	"github.com/bedplate/bedplate/apimachinery/kinds/storagemigration"
)

// All returns every built-in kind that is stored: core, apps, certificates, coordination, discovery, networking,
// nodes' runtimes, RBAC, scheduling, storage and its migration. The result is new each time, and the caller may change
// it and add kinds of its own. Left out are the reviews of access and tokens, which need a server to answer them.
func All() []apimachinery.Resource {
	return slices.Concat(
		core.Resources(), apps.Resources(), coordination.Resources(), discovery.Resources(), networking.Resources(), rbac.Resources(),
		certificates.Resources(), podcertificates.Resources(), node.Resources(), scheduling.Resources(), storage.Resources(), storagemigration.Resources(),
	)
}
