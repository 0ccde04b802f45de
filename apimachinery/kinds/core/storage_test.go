package core

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// written is what becomes of an object that is created, or of an update of old.
func written(t *testing.T, r apimachinery.Resource, raw string, into, old apimachinery.Object) []string {
	t.Helper()
	decode(raw, into)
	r.Default(into)
	if r.Prepare != nil {
		r.Prepare(t.Context(), into, old)
	}
	return text(r.Validate(t.Context(), into, old))
}

const volume = `{"metadata":{"name":"v"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],`

func TestPersistentVolume(t *testing.T) {
	r := PersistentVolumes()
	for text, want := range map[string][]string{
		`"nfs":{"server":"s","path":"/p"}}}`:                                           nil,
		`"nfs":{"server":"s","path":"p"}}}`:                                            {"spec.nfs.path Invalid value"},
		`"gcePersistentDisk":{"pdName":""}}}`:                                          {"spec.persistentDisk.pdName Required value"},
		`"cephfs":{"monitors":["m"]},"nfs":{"server":"s","path":"/p"}}}`:               {"spec.cephFS Forbidden"},
		`"local":{"path":"/../x"}}}`:                                                   {"spec.local.path Invalid value", "spec.nodeAffinity Required value"},
		`"hostPath":{"path":"/"},"persistentVolumeReclaimPolicy":"Recycle"}}`:          {"spec.persistentVolumeReclaimPolicy Forbidden"},
		`"volumeAttributesClassName":"","hostPath":{"path":"/x"}}}`:                    {"spec.volumeAttributesClassName Required value", "spec.csi Required value"},
		`"csi":{"driver":"d","volumeHandle":"h","nodeExpandSecretRef":{"name":"n"}}}}`: {"spec.csi.nodeExpandSecretRef.namespace Required value"},
		`"storageClassName":"x"}}`:                                                     {"spec Required value"},
	} {
		p := &corev1.PersistentVolume{}
		require.ElementsMatch(t, want, written(t, r, volume+text, p, nil), text)
		require.Equal(t, corev1.VolumePending, p.Status.Phase)
		require.NotNil(t, p.Status.LastPhaseTransitionTime)
	}
	old, same, other := &corev1.PersistentVolume{}, &corev1.PersistentVolume{}, &corev1.PersistentVolume{}
	require.Empty(t, written(t, r, volume+`"csi":{"driver":"d","volumeHandle":"h"}}}`, old, nil))
	require.Empty(t, written(t, r, volume+`"csi":{"driver":"d","volumeHandle":"h","controllerExpandSecretRef":{"name":"a","namespace":"b"}}}}`, same, old))
	require.Equal(t, []string{"spec.persistentvolumesource Forbidden"}, written(t, r, volume+`"csi":{"driver":"d","volumeHandle":"i"}}}`, other, old))

	bound := old.DeepCopy()
	bound.Status.Phase, bound.Status.LastPhaseTransitionTime = corev1.VolumeBound, nil
	before := *old.Status.LastPhaseTransitionTime
	r.Subs["status"].Strategy.Prepare(t.Context(), bound, old)
	require.False(t, bound.Status.LastPhaseTransitionTime.Before(&before))
}

const claimed = `{"metadata":{"name":"c","namespace":"default"},"spec":{"accessModes":["ReadWriteOnce"],`

func TestPersistentVolumeClaim(t *testing.T) {
	r := PersistentVolumeClaims()
	c := &corev1.PersistentVolumeClaim{}
	require.Empty(t, written(t, r, claimed+`"resources":{"requests":{"storage":"2Gi"}},"dataSource":{"kind":"PersistentVolumeClaim","name":"x"}}}`, c, nil))
	require.Equal(t, "x", c.Spec.DataSourceRef.Name)
	require.Equal(t, corev1.ClaimPending, c.Status.Phase)
	foreign := &corev1.PersistentVolumeClaim{}
	require.Empty(t, written(t, r, claimed+`"resources":{"requests":{"storage":"2Gi"}},"dataSource":{"kind":"ConfigMap","name":"x"}}}`, foreign, nil))
	require.Nil(t, foreign.Spec.DataSource)

	const grown, shrunk = `"resources":{"requests":{"storage":"5Gi"}},"volumeName":"v"}}`, `"resources":{"requests":{"storage":"1Gi"}},"volumeName":"v"}}`
	old := &corev1.PersistentVolumeClaim{}
	require.Empty(t, written(t, r, claimed+`"resources":{"requests":{"storage":"2Gi"}}}}`, old, nil))
	require.Equal(t, []string{"spec Forbidden"}, written(t, r, claimed+grown, &corev1.PersistentVolumeClaim{}, old), "not bound yet")
	old.Spec.VolumeName, old.Status.Phase, old.Status.Capacity = "v", corev1.ClaimBound, corev1.ResourceList{"storage": old.Spec.Resources.Requests["storage"]}
	require.Empty(t, written(t, r, claimed+grown, &corev1.PersistentVolumeClaim{}, old))
	require.Equal(t, []string{"spec.resources.requests.storage Forbidden"}, written(t, r, claimed+shrunk, &corev1.PersistentVolumeClaim{}, old))

	resizing := old.DeepCopy()
	resizing.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{"storage": "Growing", "cpu": corev1.PersistentVolumeClaimNodeResizePending}
	require.Equal(t, []string{"status.allocatedResourceStatuses Unsupported value", "status.allocatedResourceStatuses Unsupported value"},
		text(r.Subs["status"].Strategy.Validate(t.Context(), resizing, old)))
}

func TestLimitRange(t *testing.T) {
	r := LimitRanges()
	l := &corev1.LimitRange{}
	require.Empty(t, written(t, r, `{"spec":{"limits":[{"type":"Container","max":{"cpu":"2"},"min":{"cpu":"1","memory":"1Gi"}}]}}`, l, nil))
	item := l.Spec.Limits[0]
	require.True(t, item.Default.Cpu().Equal(item.Max["cpu"]))
	require.True(t, item.DefaultRequest.Cpu().Equal(item.Max["cpu"]))
	require.True(t, item.DefaultRequest.Memory().Equal(item.Min["memory"]))
	for text, want := range map[string][]string{
		`{"type":"Pod","max":{"cpu":"1"},"min":{"cpu":"2"}}`:                                    {"spec.limits[0].min[cpu] Invalid value"},
		`{"type":"Pod","default":{"cpu":"1"}}`:                                                  {"spec.limits[0].default Forbidden"},
		`{"type":"PersistentVolumeClaim"}`:                                                      {"spec.limits[0].limits Required value"},
		`{"type":"Pod","maxLimitRequestRatio":{"cpu":"0.5"}}`:                                   {"spec.limits[0].maxLimitRequestRatio[cpu] Invalid value"},
		`{"type":"Pod","max":{"cpu":"2"},"min":{"cpu":"1"},"maxLimitRequestRatio":{"cpu":"3"}}`: {"spec.limits[0].maxLimitRequestRatio[cpu] Invalid value"},
		`{"type":"Pod"},{"type":"Pod"}`:                                                         {"spec.limits[1].type Duplicate value"},
		`{"type":"Odd"}`:                                                                        {"spec.limits[0].type Invalid value"},
		`{"type":"Container","default":{"example.com/a":"1"},"defaultRequest":{"example.com/a":"2"}}`: {
			"spec.limits[0].defaultRequest[example.com/a] Invalid value", "spec.limits[0].defaultRequest[example.com/a] Invalid value",
		},
	} {
		require.ElementsMatch(t, want, written(t, r, `{"spec":{"limits":[`+text+`]}}`, &corev1.LimitRange{}, nil), text)
	}
}

func TestResourceQuota(t *testing.T) {
	r := ResourceQuotas()
	for text, want := range map[string][]string{
		`{"hard":{"pods":"1","cpu":"2","count/jobs.batch":"4"},"scopes":["NotTerminating"]}`: {},
		`{"hard":{"pods":"1.5"}}`:                          {"spec.hard[pods] Invalid value"},
		`{"hard":{"storage":"1"}}`:                         {"spec.hard[storage] Invalid value"},
		`{"hard":{"secrets":"1"},"scopes":["BestEffort"]}`: {"spec.scopes Invalid value"},
		`{"scopes":["BestEffort","NotBestEffort"]}`:        {"spec.scopes Invalid value"},
		`{"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In"}]}}`:             {"spec.scopeSelector.matchExpressions.values Required value"},
		`{"scopeSelector":{"matchExpressions":[{"scopeName":"BestEffort","operator":"In","values":["a"]}]}}`: {"spec.scopeSelector.matchExpressions.operator Invalid value"},
	} {
		require.ElementsMatch(t, want, written(t, r, `{"spec":`+text+`}`, &corev1.ResourceQuota{}, nil), text)
	}
	old := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{"Terminating"}}}
	require.Equal(t, []string{"spec.scopes Invalid value"}, written(t, r, `{}`, &corev1.ResourceQuota{}, old))
	q := &corev1.ResourceQuota{}
	decode(`{"spec":{"hard":{"requests.cpu":"2","limits.cpu":"1"}},"status":{"hard":{"limits.cpu":"1","pods":"5"},"used":{"pods":"2"}}}`, q)
	require.Equal(t, []string{"ResourceQuota requests.cpu (2) should be less than limits.cpu (1)"}, r.Warnings(q, nil))
	require.Equal(t, "pods: 2/5", r.Views[0].Columns[1].Cell(q))
	require.Equal(t, "limits.cpu: 0/1", r.Views[0].Columns[2].Cell(q))
}

func TestReplicationController(t *testing.T) {
	r := ReplicationControllers()
	c := &corev1.ReplicationController{}
	require.Empty(t, written(t, r, `{"metadata":{"name":"web"},"spec":{"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`, c, nil))
	require.EqualValues(t, 1, *c.Spec.Replicas)
	require.EqualValues(t, 1, c.Generation)
	require.Equal(t, map[string]string{"a": "b"}, c.Spec.Selector)
	require.Equal(t, []string{"spec.selector Required value", "spec.template Required value"}, written(t, r, `{"spec":{}}`, &corev1.ReplicationController{}, nil))
	scale, err := r.Subs["scale"].Get(c)
	require.NoError(t, err)
	require.NoError(t, r.Subs["scale"].Mutate(t.Context(), c, scale))
	more := c.DeepCopy()
	*more.Spec.Replicas = 3
	r.Prepare(t.Context(), more, c)
	require.EqualValues(t, 2, more.Generation)
}

func TestComponentStatuses(t *testing.T) {
	r := ComponentStatuses(map[string]func(context.Context) error{"b": func(context.Context) error { return nil }, "a": func(context.Context) error { return errors.New("down") }})
	list, err := r.Listed(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	cells := func(i int) (out []any) {
		for _, c := range r.Views[0].Columns {
			out = append(out, c.Cell(list[i]))
		}
		return out
	}
	require.Equal(t, []any{"a", "Unhealthy", "", "down"}, cells(0))
	require.Equal(t, []any{"b", "Healthy", "ok", ""}, cells(1))
}
