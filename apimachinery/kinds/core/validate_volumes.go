package core

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

func (v *podValidator) volumes() {
	names, made := distinct{}, map[string]bool{}
	for i := range v.spec.Volumes {
		if vol := &v.spec.Volumes[i]; v.podName() != "" && vol.Ephemeral != nil {
			made[v.podName()+"-"+vol.Name] = true
		}
	}
	for i := range v.spec.Volumes {
		vol, at := &v.spec.Volumes[i], v.path.child("volumes").index(i)
		before := len(v.errs)
		v.sources(vol, at)
		v.required(vol.Name, at.child("name"))
		if vol.Name != "" {
			v.form(at.child("name"), vol.Name, forms.Label)
		}
		if names[vol.Name] {
			v.add(field.Duplicate(at.child("name").path(), vol.Name))
		}
		if len(v.errs) == before {
			names[vol.Name], v.known[vol.Name] = true, vol
		}
		if c := vol.PersistentVolumeClaim; c != nil && made[c.ClaimName] {
			v.invalid(at.child("persistentVolumeClaim").child("claimName"), c.ClaimName, "must not reference a PVC that gets created for an ephemeral volume")
		}
	}
}

// podName is "" for templates.
func (v *podValidator) podName() string {
	if v.meta == nil {
		return ""
	}
	return v.meta.Name
}

// sources judges the types that a volume has, of which there must be one.
func (v *podValidator) sources(vol *corev1.Volume, at *place) {
	count := 0
	// one says whether the type is the volume's first. name is that which Kubernetes reports a second type by.
	one := func(set bool, name string) bool {
		if !set {
			return false
		}
		if count++; count > 1 {
			v.add(field.Forbidden(at.child(name).path(), "may not specify more than 1 volume type"))
		}
		return count == 1
	}
	s := &vol.VolumeSource
	if s.EmptyDir != nil {
		count++
		if l := s.EmptyDir.SizeLimit; l != nil && l.Sign() < 0 {
			v.add(field.Forbidden(at.child("emptyDir").child("sizeLimit").path(), "SizeLimit field must be a valid resource quantity"))
		}
	}
	if one(s.HostPath != nil, "hostPath") {
		v.hostPath(s.HostPath, at.child("hostPath"))
	}
	v.retiredSources(vol, at, one)
	if one(s.Projected != nil, "projected") {
		v.projected(s.Projected, at.child("projected"))
	}
	if one(s.ScaleIO != nil, "scaleIO") {
		v.required(s.ScaleIO.Gateway, at.child("scaleIO").child("gateway"))
		v.required(s.ScaleIO.System, at.child("scaleIO").child("system"))
		v.required(s.ScaleIO.VolumeName, at.child("scaleIO").child("volumeName"))
	}
	if one(s.CSI != nil, "csi") {
		v.csi(s.CSI, at.child("csi"))
	}
	if one(s.Ephemeral != nil, "ephemeral") {
		v.claimTemplate(vol, at)
	}
	if one(s.Image != nil, "image") {
		if v.meta != nil {
			v.required(s.Image.Reference, at.child("image").child("reference"))
		}
		v.add(validatePullPolicy(s.Image.PullPolicy, at.child("image").child("pullPolicy"))...)
	}
	if count == 0 {
		v.add(field.Required(at.path(), "must specify a volume type"))
	}
}

func (v *podValidator) hostPath(h *corev1.HostPathVolumeSource, at *place) {
	if h.Path == "" {
		v.add(field.Required(at.child("path").path(), ""))
		return
	}
	v.add(validateNoBackstep(h.Path, at.child("path"))...)
	types := []corev1.HostPathType{
		corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate,
		corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket,
	}
	if h.Type != nil && !slices.Contains(types, *h.Type) {
		v.add(notOneOf(at.child("type").path(), *h.Type, types...))
	}
}

func (v *podValidator) nfs(n *corev1.NFSVolumeSource, at *place) {
	v.required(n.Server, at.child("server"))
	v.required(n.Path, at.child("path"))
	if !path.IsAbs(n.Path) {
		v.invalid(at.child("path"), n.Path, "must be an absolute path")
	}
}

func (v *podValidator) csi(c *corev1.CSIVolumeSource, at *place) {
	v.driverName(c.Driver, at.child("driver"))
	if s := c.NodePublishSecretRef; s != nil {
		v.required(s.Name, at.child("nodePublishSecretRef").child("name"))
		if s.Name != "" {
			v.form(at.child("name"), s.Name, forms.Subdomain)
		}
	}
}

// driverName judges the name of a CSI driver.
func (v *podValidator) driverName(name string, at *place) {
	const longest = 63
	v.required(name, at)
	if len(name) > longest {
		v.add(field.TooLong(at.path(), "", longest))
	}
	if name != "" {
		v.invalid(at, name, forms.Subdomain(strings.ToLower(name))...)
	}
}

func (v *podValidator) mode(mode *int32, at *place) {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		v.invalid(at, *mode, "must be a number between 0 and 0777 (octal), both inclusive")
	}
}

func (v *podValidator) items(items []corev1.KeyToPath, path *place) {
	for i, item := range items {
		at := path.index(i)
		v.required(item.Key, at.child("key"))
		v.filePath(item.Path, at.child("path"))
		v.mode(item.Mode, at.child("mode"))
	}
}

func (v *podValidator) filePath(p string, at *place) {
	v.required(p, at)
	v.add(validateOwnPath(p, at)...)
}

// The fields of a pod that the downward API gives to files.
var volumeFieldPaths = []string{
	"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
}

func (v *podValidator) downward(items []corev1.DownwardAPIVolumeFile, at *place) {
	for _, item := range items {
		v.filePath(item.Path, at.child("path"))
		v.mode(item.Mode, at.child("mode"))
		switch {
		case item.FieldRef != nil:
			v.fieldRef(item.FieldRef, at.child("fieldRef"), volumeFieldPaths)
			if item.ResourceFieldRef != nil {
				v.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
			}
		case item.ResourceFieldRef != nil:
			v.resourceRef(item.ResourceFieldRef, at.child("resourceFieldRef"), true)
		default:
			v.add(field.Required(at.path(), "one of fieldRef and resourceFieldRef is required"))
		}
	}
}

// projected judges sources that share a folder. Cluster trust bundles and pod certificates are taken out before.
func (v *podValidator) projected(p *corev1.ProjectedVolumeSource, at *place) {
	v.mode(p.DefaultMode, at.child("defaultMode"))
	paths := map[string]bool{}
	claim := func(file, by string) {
		if file != "" && paths[file] {
			v.invalid(at, by, "conflicting duplicate paths")
		}
		paths[file] = true
	}
	for i, s := range p.Sources {
		source, count := at.child("sources").index(i), 0
		if s.Secret != nil {
			count++
			v.projectedKeys(s.Secret.Name, s.Secret.Items, source.child("secret"), claim)
		}
		if s.ConfigMap != nil {
			count++
			v.projectedKeys(s.ConfigMap.Name, s.ConfigMap.Items, source.child("configMap"), claim)
		}
		if s.DownwardAPI != nil {
			count++
			v.downward(s.DownwardAPI.Items, source.child("downwardAPI"))
			for _, item := range s.DownwardAPI.Items {
				claim(item.Path, item.Path)
			}
		}
		if s.ServiceAccountToken != nil {
			count++
			v.token(s.ServiceAccountToken, at, source.child("serviceAccountToken"))
		}
		if count > 1 {
			v.add(field.Forbidden(source.path(), "may not specify more than 1 volume type per source"))
		}
	}
}

func (v *podValidator) projectedKeys(name string, items []corev1.KeyToPath, at *place, claim func(file, by string)) {
	v.required(name, at.child("name"))
	v.items(items, at.child("items"))
	for _, item := range items {
		claim(item.Path, name)
	}
}

// token judges a service account's token. Its file is reported as the volume's.
func (v *podValidator) token(t *corev1.ServiceAccountTokenProjection, volume, at *place) {
	const shortest, longest = 10 * 60, 1 << 32
	if e := t.ExpirationSeconds; e != nil && *e < shortest {
		v.invalid(at.child("expirationSeconds"), *e, "may not specify a duration less than 10 minutes")
	} else if e != nil && *e > longest {
		v.invalid(at.child("expirationSeconds"), *e, "may not specify a duration larger than 2^32 seconds")
	}
	v.filePath(t.Path, volume.child("path"))
}

// claimTemplate judges the claim that is made for a pod, and that its name can be one.
func (v *podValidator) claimTemplate(vol *corev1.Volume, at *place) {
	template := vol.Ephemeral.VolumeClaimTemplate
	if template == nil {
		v.add(field.Required(at.child("ephemeral").child("volumeClaimTemplate").path(), ""))
	} else {
		v.add(validateClaimTemplate(template, at.child("ephemeral").child("volumeClaimTemplate").path())...)
	}
	if v.podName() == "" || vol.Name == "" {
		return
	}
	name := v.podName() + "-" + vol.Name
	for _, msg := range forms.Subdomain(name) {
		v.invalid(at.child("name"), vol.Name, fmt.Sprintf("PVC name %q: %v", name, msg))
	}
}
