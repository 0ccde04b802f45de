// Package core declares the kinds of the core group (v1) and its Event's second home, events.k8s.io/v1: one
// file a kind, each with defaults, validation, columns and strategy as Kubernetes v1.37 has them.
//
// The declarations are data: [Resources] returns them for an apimachinery.Registry, and whoever embeds pod
// templates in a kind of their own uses [DefaultPodTemplate], [PrepareTemplate] and [ValidatePodTemplate].
package core

import "github.com/bedplate/bedplate/apimachinery"

// Resources returns every kind of this package that is stored. [Bindings] and [ComponentStatuses] need a server, or
// what it knows of itself.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{
		ConfigMaps(), Endpoints(), Events(), LimitRanges(), Namespaces(), Nodes(), PersistentVolumeClaims(), PersistentVolumes(),
		Pods(), PodTemplates(), ReplicationControllers(), ResourceQuotas(), Secrets(), ServiceAccounts(), Services(),
	}
}
