package care

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bedplate/bedplate/storage"
)

// Objects is a collector of what tables hold, under Kubernetes' names: apiserver_storage_objects,
// apiserver_resource_objects and apiserver_watch_cache_resource_version. It asks the caches alone; a table that
// nobody has used yet is left out, as asking would load it.
type Objects struct {
	// Tables are asked at each collection for the tables of a DB, by their resources. It is called
	// concurrently.
	Tables func() map[Resource]*storage.Table
}

// Resource names what a table holds: "apps" and "deployments". The core group is "".
type Resource struct{ Group, Name string }

// String returns the resource as Kubernetes writes it: deployments.apps.
func (r Resource) String() string {
	if r.Group == "" {
		return r.Name
	}
	return r.Name + "." + r.Group
}

var _ prometheus.Collector = (*Objects)(nil)

func objectsDesc() (old, now, rev *prometheus.Desc) {
	labels := []string{"group", "resource"}
	return prometheus.NewDesc("apiserver_storage_objects",
			"Number of stored objects at the time of last check split by kind.", labels[1:], nil),
		prometheus.NewDesc("apiserver_resource_objects",
			"Number of stored objects at the time of last check split by kind.", labels, nil),
		prometheus.NewDesc("apiserver_watch_cache_resource_version",
			"Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.",
			labels, nil)
}

// Describe implements prometheus.Collector.
func (o *Objects) Describe(ch chan<- *prometheus.Desc) {
	old, now, rev := objectsDesc()
	ch <- old
	ch <- now
	ch <- rev
}

// Collect implements prometheus.Collector.
func (o *Objects) Collect(ch chan<- prometheus.Metric) {
	old, now, revision := objectsDesc()
	for r, t := range o.Tables() {
		at := t.Rev()
		if at == 0 {
			continue
		}
		s, err := t.Snapshot(context.Background(), storage.Cached, false) // loaded: it waits for nothing
		if err != nil {
			continue // the table has ended
		}
		n := float64(s.Len())
		ch <- prometheus.MustNewConstMetric(old, prometheus.GaugeValue, n, r.String())
		ch <- prometheus.MustNewConstMetric(now, prometheus.GaugeValue, n, r.Group, r.Name)
		ch <- prometheus.MustNewConstMetric(revision, prometheus.GaugeValue, float64(at%1e15), r.Group, r.Name)
	}
}
