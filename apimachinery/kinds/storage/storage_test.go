package storage

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery"
)

func text(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

// of reads an object with its defaults.
func of[T apimachinery.Object](t *testing.T, res apimachinery.Resource, doc string) T {
	t.Helper()
	o := res.New()
	require.NoError(t, yaml.UnmarshalStrict([]byte(doc), o))
	if res.Default != nil {
		res.Default(o)
	}
	return o.(T)
}

func TestRegistry(t *testing.T) {
	r, err := apimachinery.NewRegistry(Resources()...)
	require.NoError(t, err)
	for _, res := range r.All() {
		for _, c := range res.Views[0].Columns {
			require.NotNil(t, c.Cell(res.New()))
		}
	}
}

func TestCreate(t *testing.T) {
	for name, c := range map[string]struct {
		res  apimachinery.Resource
		doc  string
		want []string
	}{
		"class":              {StorageClasses(), "provisioner: Example.com/x\nparameters: {a: b}", nil},
		"no provisioner":     {StorageClasses(), "reclaimPolicy: Recycle\nvolumeBindingMode: Later", []string{"provisioner Required value", "reclaimPolicy Unsupported value", "volumeBindingMode Unsupported value"}},
		"nameless parameter": {StorageClasses(), "provisioner: p\nparameters: {'': b}", []string{"parameters Invalid value"}},
		"topologies": {StorageClasses(), "provisioner: p\nallowedTopologies: [{matchLabelExpressions: [{key: a, values: [x, x]}, {key: a, values: [y]}, {key: -}]}]", []string{
			"allowedTopologies[0].matchLabelExpressions[0].values[1] Duplicate value", "allowedTopologies[0].matchLabelExpressions[1].key Duplicate value",
			"allowedTopologies[0].matchLabelExpressions[2].values Required value", "allowedTopologies[0].matchLabelExpressions[2].key Invalid value",
		}},
		"terms twice":   {StorageClasses(), "provisioner: p\nallowedTopologies: [{matchLabelExpressions: [{key: a, values: [x, y]}]}, {matchLabelExpressions: [{key: a, values: [y, x]}]}]", []string{"allowedTopologies[1].matchLabelExpressions Duplicate value"}},
		"attributes":    {VolumeAttributesClasses(), "driverName: x/y/z", []string{"driverName Invalid value", "parameters Required value"}},
		"attachment":    {VolumeAttachments(), "spec: {attacher: d, nodeName: n1, source: {persistentVolumeName: pv}}", nil},
		"no source":     {VolumeAttachments(), "spec: {nodeName: N1}", []string{"spec.attacher Required value", "spec.source Required value", "spec.nodeName Invalid value"}},
		"both sources":  {VolumeAttachments(), "spec: {attacher: d, nodeName: n1, source: {persistentVolumeName: pv, inlineVolumeSpec: {}}}", []string{"spec.source Forbidden"}},
		"empty name":    {VolumeAttachments(), "spec: {attacher: d, nodeName: n1, source: {persistentVolumeName: ''}}", []string{"spec.source.persistentVolumeName Required value", "spec.source.persistentVolumeName Invalid value"}},
		"inline":        {VolumeAttachments(), "spec: {attacher: d, nodeName: n1, source: {inlineVolumeSpec: {accessModes: [ReadWriteOnce], csi: {driver: d, volumeHandle: h}}}}", nil},
		"inline: empty": {VolumeAttachments(), "spec: {attacher: d, nodeName: n1, source: {inlineVolumeSpec: {storageClassName: c}}}", []string{"spec.source.inlineVolumeSpec.storageClassName Forbidden", "spec.source.inlineVolumeSpec.accessModes Required value", "spec.source.inlineVolumeSpec.csi Required value", "spec.source.inlineVolumeSpec Required value"}},
		"inline: modes": {VolumeAttachments(), "spec: {attacher: d, nodeName: n1, source: {inlineVolumeSpec: {accessModes: [ReadWriteOncePod, ReadWriteMany, X], hostPath: {path: /}, csi: {}}}}", []string{"spec.source.inlineVolumeSpec.accessModes Unsupported value", "spec.source.inlineVolumeSpec.accessModes Forbidden", "spec.source.inlineVolumeSpec.csi Forbidden"}},
		"inline: secret": {VolumeAttachments(), "spec: {attacher: d, nodeName: n1, source: {inlineVolumeSpec: {accessModes: [ReadWriteOnce], csi: {driver: d, nodePublishSecretRef: {name: A}}}}}", []string{
			"spec.source.inlineVolumeSpec.csi.volumeHandle Required value", "spec.source.inlineVolumeSpec.csi.nodePublishSecretRef.name Invalid value", "spec.source.inlineVolumeSpec.csi.nodePublishSecretRef.namespace Required value",
		}},
		"driver": {CSIDrivers(), "spec: {fsGroupPolicy: X, volumeLifecycleModes: [Y], nodeAllocatableUpdatePeriodSeconds: 9, serviceAccountTokenInSecrets: true}", []string{
			"spec.fsGroupPolicy Unsupported value", "spec.volumeLifecycleModes Unsupported value", "spec.nodeAllocatableUpdatePeriodSeconds Invalid value", "spec.serviceAccountTokenInSecrets Invalid value",
		}},
		"tokens": {CSIDrivers(), "spec: {tokenRequests: [{audience: a, expirationSeconds: 1}, {audience: a}, {audience: b, expirationSeconds: 5000000000}]}", []string{
			"spec.tokenRequests[0].expirationSeconds Invalid value", "spec.tokenRequests[1].audience Duplicate value", "spec.tokenRequests[2].expirationSeconds Invalid value",
		}},
		"node": {CSINodes(), "spec: {drivers: [{name: a, nodeID: x, topologyKeys: [k, k]}, {name: a, nodeID: '', topologyKeys: [''], allocatable: {count: -1}}]}", []string{
			"spec.drivers[0] Duplicate value", "spec.drivers[1].nodeID Required value", "spec.drivers[1].allocatable.count Invalid value",
			"spec.drivers[1] Required value", "spec.drivers[1] Invalid value", "spec.drivers[1] Invalid value", "spec.drivers[1].name Duplicate value",
		}},
		"capacity": {CSIStorageCapacities(), "storageClassName: A\ncapacity: -1\nnodeTopology: {matchLabels: {a: '-'}}", []string{"nodeTopology.matchLabels Invalid value", "storageClassName Invalid value", "capacity Invalid value"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, text(c.res.Validate(t.Context(), of[apimachinery.Object](t, c.res, c.doc), nil)))
		})
	}
}

func TestUpdate(t *testing.T) {
	for name, c := range map[string]struct {
		res      apimachinery.Resource
		new, old string
		want     []string
	}{
		"class":      {StorageClasses(), "provisioner: q\nparameters: {a: b}\nreclaimPolicy: Retain\nvolumeBindingMode: WaitForFirstConsumer", "provisioner: p", []string{"parameters Invalid value", "provisioner Invalid value", "reclaimPolicy Invalid value", "volumeBindingMode Invalid value"}},
		"expansion":  {StorageClasses(), "provisioner: p\nallowVolumeExpansion: true", "provisioner: p", nil},
		"attributes": {VolumeAttributesClasses(), "driverName: b\nparameters: {a: c}", "driverName: a\nparameters: {a: b}", []string{"driverName Forbidden", "parameters Forbidden"}},
		"attachment": {VolumeAttachments(), "spec: {attacher: d, nodeName: m, source: {persistentVolumeName: pv}}", "spec: {attacher: d, nodeName: n1, source: {persistentVolumeName: pv}}", []string{"spec Invalid value"}},
		"driver":     {CSIDrivers(), "spec: {attachRequired: false, volumeLifecycleModes: [Ephemeral]}", "spec: {}", []string{"spec.attachedRequired Invalid value", "spec.volumeLifecycleModes Invalid value"}},
		"node":       {CSINodes(), "spec: {drivers: [{name: a, nodeID: y}, {name: b, nodeID: z, allocatable: {count: 2}}]}", "spec: {drivers: [{name: a, nodeID: x}, {name: b, nodeID: z}]}", []string{"spec.drivers Invalid value"}},
		"capacity":   {CSIStorageCapacities(), "storageClassName: b\nnodeTopology: {}", "storageClassName: a", []string{"nodeTopology Invalid value", "storageClassName Invalid value"}},
		"bad before": {CSIStorageCapacities(), "storageClassName: a\nnodeTopology: {matchLabels: {a: '-'}}", "storageClassName: a\nnodeTopology: {matchLabels: {a: '-'}}", []string{"nodeTopology.matchLabels Invalid value"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, text(c.res.Validate(t.Context(), of[apimachinery.Object](t, c.res, c.new), of[apimachinery.Object](t, c.res, c.old))))
		})
	}
}

func TestAttachmentStatus(t *testing.T) {
	res := VolumeAttachments()
	o := of[*storagev1.VolumeAttachment](t, res, "metadata: {name: a}\nspec: {attacher: d, nodeName: n1, source: {persistentVolumeName: pv}}")
	n := o.DeepCopy()
	n.Status.Attached, n.Spec.NodeName = true, "other"
	long, negative := strings.Repeat("x", 1025), int32(-1)
	n.Status.AttachError = &storagev1.VolumeError{Message: long, ErrorCode: &negative}
	n.Status.AttachmentMetadata = map[string]string{"k": strings.Repeat("x", 256<<10)}
	s := res.Subs["status"].Strategy
	s.Prepare(t.Context(), n, o)
	require.Equal(t, "n1", n.Spec.NodeName)
	require.Equal(t, []string{"status.attachmentMetadata Too long", "status.attachError.message Too long", "status.attachError.errorCode Invalid value"}, text(s.Validate(t.Context(), n, o)))
	res.Prepare(t.Context(), n, nil)
	require.Empty(t, n.Status, "the status has a door of its own")
}

func TestDriver(t *testing.T) {
	res := CSIDrivers()
	d := of[*storagev1.CSIDriver](t, res, "spec: {tokenRequests: [{audience: a}, {audience: b}]}")
	require.True(t, *d.Spec.AttachRequired)
	require.False(t, *d.Spec.PreventPodSchedulingIfMissing)
	require.Equal(t, "a,b", audiences(d.Spec.TokenRequests))
	require.Equal(t, "Persistent", modes(d.Spec.VolumeLifecycleModes))
	require.Len(t, res.Warnings(d, nil), 1)
	require.Empty(t, res.Warnings(d, d))
	n := d.DeepCopy()
	n.Spec.PodInfoOnMount = new(bool)
	*n.Spec.PodInfoOnMount = true
	res.Prepare(t.Context(), n, d)
	require.EqualValues(t, 1, n.Generation)
}

func TestWarnings(t *testing.T) {
	c := of[apimachinery.Object](t, StorageClasses(), "allowedTopologies: [{matchLabelExpressions: [{key: beta.kubernetes.io/os, values: [linux]}]}]")
	require.Equal(t, []string{"allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use kubernetes.io/os instead"}, StorageClasses().Warnings(c, nil))
	k := of[apimachinery.Object](t, CSIStorageCapacities(), "nodeTopology: {matchLabels: {beta.kubernetes.io/arch: amd64}, matchExpressions: [{key: node-role.kubernetes.io/master, operator: Exists}]}")
	require.Len(t, CSIStorageCapacities().Warnings(k, nil), 2)
}

func TestNames(t *testing.T) {
	c := &storagev1.StorageClass{}
	c.Name, c.Annotations = "fast", map[string]string{DefaultAnnotation: "true"}
	require.Equal(t, "fast (default)", StorageClasses().Views[0].Columns[0].Cell(c))
	c.Annotations = nil
	require.Equal(t, "fast", StorageClasses().Views[0].Columns[0].Cell(c))
	require.Equal(t, string(corev1.PersistentVolumeReclaimDelete), StorageClasses().Views[0].Columns[2].Cell(c))
}
