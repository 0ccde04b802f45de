package core

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *podValidator) mounts(c *corev1.Container, at *place) {
	devices, devicePaths := devicesOf(c)
	points := map[string]bool{}
	for i, m := range c.VolumeMounts {
		item := at.index(i)
		v.required(m.Name, item.child("name"))
		if v.known[m.Name] == nil {
			v.add(field.NotFound(item.child("name").path(), m.Name))
		}
		v.required(m.MountPath, item.child("mountPath"))
		if points[m.MountPath] {
			v.invalid(item.child("mountPath"), m.MountPath, "must be unique")
		}
		points[m.MountPath] = true
		if devices[m.Name] {
			v.invalid(item.child("name"), m.Name, "must not already exist in volumeDevices")
		}
		if devicePaths[m.MountPath] {
			v.invalid(item.child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices")
		}
		if m.SubPath != "" && m.SubPathExpr != "" {
			v.invalid(item.child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
		}
		v.add(validateLocalPath(m.SubPath, at.child("subPath"))...)
		v.add(validateLocalPath(m.SubPathExpr, at.child("subPathExpr"))...)
		v.propagation(m, c, at.child("mountPropagation"))
		v.recursiveReadOnly(m, at.child("recursiveReadOnly"))
	}
}

// devicesOf are the names and the paths of a container's devices; nil, as most have none.
func devicesOf(c *corev1.Container) (names, paths map[string]bool) {
	if len(c.VolumeDevices) == 0 {
		return nil, nil
	}
	names, paths = map[string]bool{}, map[string]bool{}
	for _, d := range lastByName(c.VolumeDevices, func(d corev1.VolumeDevice) string { return d.Name }) {
		names[d.Name], paths[d.DevicePath] = true, true
	}
	return names, paths
}

// lastByName leaves out what a later item of the same name hides.
func lastByName[T any](list []T, name func(T) string) map[string]T {
	out := make(map[string]T, len(list))
	for _, item := range list {
		out[name(item)] = item
	}
	return out
}

func (v *podValidator) devices(c *corev1.Container, path *place) {
	if len(c.VolumeDevices) == 0 {
		return
	}
	mounts, mountPaths := map[string]bool{}, map[string]bool{}
	for _, m := range lastByName(c.VolumeMounts, func(m corev1.VolumeMount) string { return m.Name }) {
		mounts[m.Name], mountPaths[m.MountPath] = true, true
	}
	names, paths := map[string]bool{}, map[string]bool{}
	for i, d := range c.VolumeDevices {
		name, at := path.index(i).child("name"), path.index(i).child("devicePath")
		v.required(d.Name, name)
		if names[d.Name] {
			v.invalid(name, d.Name, "must be unique")
		}
		if vol := v.known[d.Name]; vol == nil {
			v.add(field.NotFound(name.path(), d.Name))
		} else if vol.PersistentVolumeClaim == nil && vol.Ephemeral == nil {
			v.invalid(name, d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
		v.required(d.DevicePath, at)
		if paths[d.DevicePath] {
			v.invalid(at, d.DevicePath, "must be unique")
		}
		if len(validateNoBackstep(d.DevicePath, at)) > 0 {
			v.invalid(at, d.DevicePath, "can not contain backsteps ('..')")
		} else {
			paths[d.DevicePath] = true
		}
		if mounts[d.Name] {
			v.invalid(name, d.Name, "must not already exist in volumeMounts")
		}
		if mountPaths[d.DevicePath] {
			v.invalid(at, d.DevicePath, "must not already exist as a path in volumeMounts")
		}
		names[d.Name] = d.Name != ""
	}
}

func (v *podValidator) propagation(m corev1.VolumeMount, c *corev1.Container, at *place) {
	if m.MountPropagation == nil {
		return
	}
	switch *m.MountPropagation {
	case corev1.MountPropagationNone, corev1.MountPropagationHostToContainer:
	case corev1.MountPropagationBidirectional:
		if c.SecurityContext == nil || c.SecurityContext.Privileged == nil || !*c.SecurityContext.Privileged {
			v.add(field.Forbidden(at.path(), "Bidirectional mount propagation is available only to privileged containers"))
		}
	default:
		v.add(notOneOf(at.path(), *m.MountPropagation, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone))
	}
}

func (v *podValidator) recursiveReadOnly(m corev1.VolumeMount, at *place) {
	if m.RecursiveReadOnly == nil {
		return
	}
	switch *m.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyDisabled:
	case corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible:
		if !m.ReadOnly {
			v.add(field.Forbidden(at.path(), "may only be specified when readOnly is true"))
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			v.add(field.Forbidden(at.path(), "may only be specified when mountPropagation is None or not specified"))
		}
	default:
		v.add(notOneOf(at.path(), *m.RecursiveReadOnly, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled))
	}
}

// validateLocalPath judges a path that must stay inside a volume.
func validateLocalPath(p string, at *place) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(p) {
		errs = append(errs, field.Invalid(at.path(), p, "must be a relative path"))
	}
	return append(errs, validateNoBackstep(p, at)...)
}

func validateNoBackstep(p string, at *place) field.ErrorList {
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return field.ErrorList{field.Invalid(at.path(), p, "must not contain '..'")}
		}
	}
	return nil
}

// validateOwnPath judges a file's path in a volume that is written by the node: relative, and no leading dots, which
// the node uses itself.
func validateOwnPath(p string, at *place) field.ErrorList {
	errs := validateLocalPath(p, at)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		errs = append(errs, field.Invalid(at.path(), p, "must not start with '..'"))
	}
	return errs
}
