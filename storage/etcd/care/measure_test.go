package care_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/care"
	"github.com/bedplate/bedplate/storage/storetest"
)

// value sums a metric over the series whose labels are those, given in pairs.
func value(t *testing.T, g prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	all, err := g.Gather()
	require.NoError(t, err)
	var sum float64
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.Metric {
			have := map[string]string{}
			for _, l := range m.Label {
				have[l.GetName()] = l.GetValue()
			}
			for i := 0; i < len(labels); i += 2 {
				if have[labels[i]] != labels[i+1] {
					continue series
				}
			}
			sum += m.Counter.GetValue() + m.Gauge.GetValue() + float64(m.Histogram.GetSampleCount())
		}
	}
	return sum
}

func TestMeasuredStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storage.Backend {
		b, err := care.Measure(inMemory(t), prometheus.NewRegistry())
		require.NoError(t, err)
		return b
	})
}

func TestMeasure(t *testing.T) {
	reg := prometheus.NewRegistry()
	b, err := care.Measure(inMemory(t), reg)
	require.NoError(t, err)
	ctx := t.Context()
	commit := func(txn storage.Txn) error {
		_, err := b.Commit(ctx, txn)
		return err
	}
	pod, cr := "/registry/pods/default/web", "/registry/example.com/websites/default/hello"
	create := storage.Txn{If: []storage.Cond{{Key: pod}}, Then: []storage.Op{{Key: pod, Value: []byte("1")}}}
	require.NoError(t, commit(create))
	require.ErrorIs(t, commit(create), storage.ErrConflict)
	require.NoError(t, commit(storage.Txn{Then: []storage.Op{{Key: cr, Value: []byte("1")}}}))
	require.NoError(t, commit(storage.Txn{Then: []storage.Op{{Key: cr}}}))
	require.NoError(t, commit(storage.Txn{Then: []storage.Op{{Key: pod, Value: []byte("2")}, {Key: "/registry/nodes/a", Value: []byte("2")}}}))
	_, err = b.Range(ctx, storage.Range{Prefix: "/registry/pods/", At: 99})
	require.ErrorIs(t, err, storage.ErrFuture)
	_, err = b.Revision(ctx)
	require.NoError(t, err)
	lease, err := b.(storage.Leaser).Grant(ctx, time.Minute)
	require.NoError(t, err)
	require.NoError(t, b.(storage.Leaser).Revoke(ctx, lease.ID))
	watching, cancel := context.WithCancel(ctx)
	seen := int64(1)
	for batch, err := range b.Watch(watching, "/registry/", 1) {
		if err != nil {
			break
		}
		if seen = batch.Rev; seen >= 5 {
			cancel()
		}
	}
	cancel()

	for _, c := range []struct {
		want   float64
		name   string
		labels string
	}{
		{2, "etcd_requests_total", "operation=create resource=pods"},
		{0, "etcd_request_errors_total", "operation=create"},
		{2, "etcd_request_duration_seconds", "operation=create resource=pods"},
		{1, "etcd_requests_total", "operation=update group=example.com resource=websites"},
		{1, "etcd_requests_total", "operation=delete group=example.com resource=websites"},
		{1, "etcd_requests_total", "operation=txn"},
		{1, "etcd_request_errors_total", "operation=list resource=pods"},
		{1, "etcd_requests_total", "operation=get"},
		{1, "etcd_requests_total", "operation=leaseGrant"},
		{2, "apiserver_storage_events_received_total", "group=example.com resource=websites"},
	} {
		labels := strings.FieldsFunc(c.labels, func(r rune) bool { return r == ' ' || r == '=' })
		require.Equal(t, c.want, value(t, reg, c.name, labels...), "%s %s", c.name, c.labels)
	}
}

// TestMeasureKeepsWhatIsOffered: no more and no less.
func TestMeasureKeepsWhatIsOffered(t *testing.T) {
	full := inMemory(t)
	same, err := care.Measure(full, nil)
	require.NoError(t, err)
	require.Same(t, full, same)
	for name, b := range map[string]storage.Backend{
		"both": full,
		"leases": struct {
			storage.Backend
			storage.Leaser
		}{full, full},
		"compact": struct {
			storage.Backend
			care.Compacter
		}{full, full},
		"neither": struct{ storage.Backend }{full},
	} {
		m, err := care.Measure(b, prometheus.NewRegistry())
		require.NoError(t, err)
		_, leases := m.(storage.Leaser)
		_, compacts := m.(care.Compacter)
		require.Equal(t, name == "both" || name == "leases", leases, name)
		require.Equal(t, name == "both" || name == "compact", compacts, name)
	}
}

func TestManyResources(t *testing.T) {
	reg := prometheus.NewRegistry()
	b, err := care.Measure(inMemory(t), reg)
	require.NoError(t, err)
	for i := range 1_100 {
		_, err := b.Range(t.Context(), storage.Range{Prefix: "/registry/" + strings.Repeat("x", i+1) + "/"})
		require.NoError(t, err)
	}
	require.EqualValues(t, 100, value(t, reg, "etcd_requests_total", "resource", "other"))
}

func TestObjects(t *testing.T) {
	db, err := storage.New(inMemory(t), storage.Config{})
	require.NoError(t, err)
	pods, err := db.Table(storage.Schema{Prefix: "/registry/pods/"})
	require.NoError(t, err)
	unused, err := db.Table(storage.Schema{Prefix: "/registry/deployments/"})
	require.NoError(t, err)
	reg := prometheus.NewRegistry()
	require.NoError(t, reg.Register(&care.Objects{Tables: func() map[care.Resource]*storage.Table {
		return map[care.Resource]*storage.Table{{Name: "pods"}: pods, {Group: "apps", Name: "deployments"}: unused}
	}}))
	require.Zero(t, value(t, reg, "apiserver_storage_objects"))

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	rev, err := db.Commit(ctx, storage.Write{Table: pods, Key: "a", Value: []byte("1")})
	require.NoError(t, err)
	_, err = pods.Get(ctx, "a", rev)
	require.NoError(t, err)
	require.EqualValues(t, 1, value(t, reg, "apiserver_storage_objects", "resource", "pods"))
	require.EqualValues(t, 1, value(t, reg, "apiserver_resource_objects", "group", "", "resource", "pods"))
	require.EqualValues(t, rev, value(t, reg, "apiserver_watch_cache_resource_version", "resource", "pods"))
	require.Zero(t, value(t, reg, "apiserver_storage_objects", "resource", "deployments.apps"))
	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, "deployments.apps", care.Resource{Group: "apps", Name: "deployments"}.String())
}

func TestEtcdMetrics(t *testing.T) {
	all, err := care.EtcdMetrics().Gather()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for _, f := range all {
		require.True(t, strings.HasPrefix(f.GetName(), "etcd_"), f.GetName())
	}
}
