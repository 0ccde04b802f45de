package core

import corev1 "k8s.io/api/core/v1"

func defaultVolume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	defaultFiles(v)
	if v.HostPath != nil {
		defaultTo(&v.HostPath.Type, corev1.HostPathUnset)
	}
	if v.Image != nil {
		set(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		claim := &v.Ephemeral.VolumeClaimTemplate.Spec
		defaultTo(&claim.VolumeMode, corev1.PersistentVolumeFilesystem)
		roundResources(claim.Resources.Limits)
		roundResources(claim.Resources.Requests)
	}
	defaultNetworkDisk(v)
}

// defaultFiles is about the volumes whose files are written by the node.
func defaultFiles(v *corev1.Volume) {
	const mode = int32(0o644)
	if v.Secret != nil {
		defaultTo(&v.Secret.DefaultMode, mode)
	}
	if v.ConfigMap != nil {
		defaultTo(&v.ConfigMap.DefaultMode, mode)
	}
	if v.DownwardAPI != nil {
		defaultTo(&v.DownwardAPI.DefaultMode, mode)
		defaultDownward(v.DownwardAPI.Items)
	}
	if v.Projected != nil {
		defaultTo(&v.Projected.DefaultMode, mode)
		defaultProjection(v.Projected.Sources)
	}
}

func defaultProjection(sources []corev1.VolumeProjection) {
	for i := range sources {
		if t := sources[i].ServiceAccountToken; t != nil {
			defaultTo(&t.ExpirationSeconds, 60*60)
		}
		if d := sources[i].DownwardAPI; d != nil {
			defaultDownward(d.Items)
		}
	}
}

func defaultDownward(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}

func defaultNetworkDisk(v *corev1.Volume) {
	if d := v.ISCSI; d != nil {
		set(&d.ISCSIInterface, "default")
	}
	if d := v.RBD; d != nil {
		set(&d.RBDPool, "rbd")
		set(&d.RadosUser, "admin")
		set(&d.Keyring, "/etc/ceph/keyring")
	}
	if d := v.AzureDisk; d != nil {
		defaultTo(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
		defaultTo(&d.Kind, corev1.AzureSharedBlobDisk)
		defaultTo(&d.FSType, "ext4")
		defaultTo(&d.ReadOnly, false)
	}
	if d := v.ScaleIO; d != nil {
		set(&d.StorageMode, "ThinProvisioned")
		set(&d.FSType, "xfs")
	}
}
