package node

import (
	corev1 "k8s.io/api/core/v1"
)

// refersTo says whether a pod refers to an object of its own namespace: a "secrets", "configmaps",
// "persistentvolumeclaims" or "serviceaccounts". A mirror pod refers to nothing: its node made it up.
func refersTo(p *corev1.Pod, resource, name string) bool {
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror || name == "" {
		return false
	}
	switch resource {
	case "serviceaccounts":
		return p.Spec.ServiceAccountName == name
	case "persistentvolumeclaims":
		return hasClaim(p, name)
	case "configmaps":
		return hasConfigMap(&p.Spec, name)
	case "secrets":
		return hasSecret(&p.Spec, name)
	}
	return false
}

func hasClaim(p *corev1.Pod, name string) bool {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == name || v.Ephemeral != nil && p.Name+"-"+v.Name == name {
			return true
		}
	}
	return false
}

func hasConfigMap(s *corev1.PodSpec, name string) bool {
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if v.ConfigMap != nil && v.ConfigMap.Name == name {
			return true
		}
		for j := range projected(v) {
			if c := v.Projected.Sources[j].ConfigMap; c != nil && c.Name == name {
				return true
			}
		}
	}
	return anyContainer(s, func(env []corev1.EnvVar, from []corev1.EnvFromSource) bool {
		for i := range from {
			if from[i].ConfigMapRef != nil && from[i].ConfigMapRef.Name == name {
				return true
			}
		}
		for i := range env {
			if v := env[i].ValueFrom; v != nil && v.ConfigMapKeyRef != nil && v.ConfigMapKeyRef.Name == name {
				return true
			}
		}
		return false
	})
}

func projected(v *corev1.Volume) []corev1.VolumeProjection {
	if v.Projected == nil {
		return nil
	}
	return v.Projected.Sources
}

func hasSecret(s *corev1.PodSpec, name string) bool {
	for i := range s.ImagePullSecrets {
		if s.ImagePullSecrets[i].Name == name {
			return true
		}
	}
	for i := range s.Volumes {
		if volumeHasSecret(&s.Volumes[i], name) {
			return true
		}
	}
	return anyContainer(s, func(env []corev1.EnvVar, from []corev1.EnvFromSource) bool {
		for i := range from {
			if from[i].SecretRef != nil && from[i].SecretRef.Name == name {
				return true
			}
		}
		for i := range env {
			if v := env[i].ValueFrom; v != nil && v.SecretKeyRef != nil && v.SecretKeyRef.Name == name {
				return true
			}
		}
		return false
	})
}

func volumeHasSecret(v *corev1.Volume, name string) bool {
	for i := range projected(v) {
		if s := v.Projected.Sources[i].Secret; s != nil && s.Name == name {
			return true
		}
	}
	if v.Secret != nil {
		return v.Secret.SecretName == name
	}
	if v.AzureFile != nil {
		return v.AzureFile.SecretName == name
	}
	ref := secretRef(v)
	return ref != nil && ref.Name == name
}

// secretRef is the secret that a volume's driver logs in with.
func secretRef(v *corev1.Volume) *corev1.LocalObjectReference {
	switch {
	case v.CSI != nil:
		return v.CSI.NodePublishSecretRef
	case v.ISCSI != nil:
		return v.ISCSI.SecretRef
	case v.FlexVolume != nil:
		return v.FlexVolume.SecretRef
	case v.RBD != nil:
		return v.RBD.SecretRef
	case v.CephFS != nil:
		return v.CephFS.SecretRef
	case v.Cinder != nil:
		return v.Cinder.SecretRef
	case v.ScaleIO != nil:
		return v.ScaleIO.SecretRef
	case v.StorageOS != nil:
		return v.StorageOS.SecretRef
	}
	return nil
}

// anyContainer asks f of the environment of every container of every list.
func anyContainer(s *corev1.PodSpec, f func([]corev1.EnvVar, []corev1.EnvFromSource) bool) bool {
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			if f(list[i].Env, list[i].EnvFrom) {
				return true
			}
		}
	}
	for i := range s.EphemeralContainers {
		if c := &s.EphemeralContainers[i]; f(c.Env, c.EnvFrom) {
			return true
		}
	}
	return false
}
