package core

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *podValidator) volumes() {
	names, made := distinct{}, map[string]bool{}
	for i := range v.spec.Volumes {
		if vol := &v.spec.Volumes[i]; v.podName() != "" && vol.Ephemeral != nil {
			made[v.podName()+"-"+vol.Name] = true
		}
	}
	for i := range v.spec.Volumes {
		vol, at := &v.spec.Volumes[i], v.path.Child("volumes").Index(i)
		before := len(v.errs)
		v.sources(vol, at)
		v.required(vol.Name, at.Child("name"))
		if vol.Name != "" {
			v.invalid(at.Child("name"), vol.Name, utilvalidation.IsDNS1123Label(vol.Name)...)
		}
		if names[vol.Name] {
			v.add(field.Duplicate(at.Child("name"), vol.Name))
		}
		if len(v.errs) == before {
			names[vol.Name], v.known[vol.Name] = true, vol
		}
		if c := vol.PersistentVolumeClaim; c != nil && made[c.ClaimName] {
			v.invalid(at.Child("persistentVolumeClaim", "claimName"), c.ClaimName, "must not reference a PVC that gets created for an ephemeral volume")
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
func (v *podValidator) sources(vol *corev1.Volume, at *field.Path) {
	count := 0
	// one says whether the type is the volume's first. elsewhere are names of the field that Kubernetes reports a
	// second type by, where they are not its own.
	one := func(set bool, name string, elsewhere ...string) bool {
		if !set {
			return false
		}
		if count++; count > 1 {
			v.add(field.Forbidden(at.Child(append(elsewhere, name)[0]), "may not specify more than 1 volume type"))
		}
		return count == 1
	}
	s := &vol.VolumeSource
	if s.EmptyDir != nil {
		count++
		if l := s.EmptyDir.SizeLimit; l != nil && l.Sign() < 0 {
			v.add(field.Forbidden(at.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity"))
		}
	}
	if one(s.HostPath != nil, "hostPath") {
		v.hostPath(s.HostPath, at.Child("hostPath"))
	}
	v.retiredSources(vol, at, one)
	if one(s.Projected != nil, "projected") {
		v.projected(s.Projected, at.Child("projected"))
	}
	if one(s.ScaleIO != nil, "scaleIO") {
		v.required(s.ScaleIO.Gateway, at.Child("scaleIO", "gateway"))
		v.required(s.ScaleIO.System, at.Child("scaleIO", "system"))
		v.required(s.ScaleIO.VolumeName, at.Child("scaleIO", "volumeName"))
	}
	if one(s.CSI != nil, "csi") {
		v.csi(s.CSI, at.Child("csi"))
	}
	if one(s.Ephemeral != nil, "ephemeral") {
		v.claimTemplate(vol, at)
	}
	if one(s.Image != nil, "image") {
		if v.meta != nil {
			v.required(s.Image.Reference, at.Child("image", "reference"))
		}
		v.add(validatePullPolicy(s.Image.PullPolicy, at.Child("image", "pullPolicy"))...)
	}
	if count == 0 {
		v.add(field.Required(at, "must specify a volume type"))
	}
}

func (v *podValidator) hostPath(h *corev1.HostPathVolumeSource, at *field.Path) {
	if h.Path == "" {
		v.add(field.Required(at.Child("path"), ""))
		return
	}
	v.add(validateNoBackstep(h.Path, at.Child("path"))...)
	types := []corev1.HostPathType{
		corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate,
		corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket,
	}
	if h.Type != nil && !slices.Contains(types, *h.Type) {
		v.add(notOneOf(at.Child("type"), *h.Type, types...))
	}
}

func (v *podValidator) nfs(n *corev1.NFSVolumeSource, at *field.Path) {
	v.required(n.Server, at.Child("server"))
	v.required(n.Path, at.Child("path"))
	if !path.IsAbs(n.Path) {
		v.invalid(at.Child("path"), n.Path, "must be an absolute path")
	}
}

func (v *podValidator) csi(c *corev1.CSIVolumeSource, at *field.Path) {
	const longest = 63
	v.required(c.Driver, at.Child("driver"))
	if len(c.Driver) > longest {
		v.add(field.TooLong(at.Child("driver"), "", longest))
	}
	if c.Driver != "" {
		v.invalid(at.Child("driver"), c.Driver, utilvalidation.IsDNS1123Subdomain(strings.ToLower(c.Driver))...)
	}
	if s := c.NodePublishSecretRef; s != nil {
		v.required(s.Name, at.Child("nodePublishSecretRef", "name"))
		if s.Name != "" {
			v.invalid(at.Child("name"), s.Name, validation.NameIsDNSSubdomain(s.Name, false)...)
		}
	}
}

func (v *podValidator) mode(mode *int32, at *field.Path) {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		v.invalid(at, *mode, "must be a number between 0 and 0777 (octal), both inclusive")
	}
}

func (v *podValidator) items(items []corev1.KeyToPath, path *field.Path) {
	for i, item := range items {
		at := path.Index(i)
		v.required(item.Key, at.Child("key"))
		v.filePath(item.Path, at.Child("path"))
		v.mode(item.Mode, at.Child("mode"))
	}
}

func (v *podValidator) filePath(p string, at *field.Path) {
	v.required(p, at)
	v.add(validateOwnPath(p, at)...)
}

// The fields of a pod that the downward API gives to files.
var volumeFieldPaths = []string{
	"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
}

func (v *podValidator) downward(items []corev1.DownwardAPIVolumeFile, at *field.Path) {
	for _, item := range items {
		v.filePath(item.Path, at.Child("path"))
		v.mode(item.Mode, at.Child("mode"))
		switch {
		case item.FieldRef != nil:
			v.fieldRef(item.FieldRef, at.Child("fieldRef"), volumeFieldPaths)
			if item.ResourceFieldRef != nil {
				v.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
			}
		case item.ResourceFieldRef != nil:
			v.resourceRef(item.ResourceFieldRef, at.Child("resourceFieldRef"), true)
		default:
			v.add(field.Required(at, "one of fieldRef and resourceFieldRef is required"))
		}
	}
}

// projected judges sources that share a folder. Cluster trust bundles and pod certificates are taken out before.
func (v *podValidator) projected(p *corev1.ProjectedVolumeSource, at *field.Path) {
	v.mode(p.DefaultMode, at.Child("defaultMode"))
	paths := map[string]bool{}
	claim := func(file, by string) {
		if file != "" && paths[file] {
			v.invalid(at, by, "conflicting duplicate paths")
		}
		paths[file] = true
	}
	for i, s := range p.Sources {
		source, count := at.Child("sources").Index(i), 0
		if s.Secret != nil {
			count++
			v.projectedKeys(s.Secret.Name, s.Secret.Items, source.Child("secret"), claim)
		}
		if s.ConfigMap != nil {
			count++
			v.projectedKeys(s.ConfigMap.Name, s.ConfigMap.Items, source.Child("configMap"), claim)
		}
		if s.DownwardAPI != nil {
			count++
			v.downward(s.DownwardAPI.Items, source.Child("downwardAPI"))
			for _, item := range s.DownwardAPI.Items {
				claim(item.Path, item.Path)
			}
		}
		if s.ServiceAccountToken != nil {
			count++
			v.token(s.ServiceAccountToken, at, source.Child("serviceAccountToken"))
		}
		if count > 1 {
			v.add(field.Forbidden(source, "may not specify more than 1 volume type per source"))
		}
	}
}

func (v *podValidator) projectedKeys(name string, items []corev1.KeyToPath, at *field.Path, claim func(file, by string)) {
	v.required(name, at.Child("name"))
	v.items(items, at.Child("items"))
	for _, item := range items {
		claim(item.Path, name)
	}
}

// token judges a service account's token. Its file is reported as the volume's.
func (v *podValidator) token(t *corev1.ServiceAccountTokenProjection, volume, at *field.Path) {
	const shortest, longest = 10 * 60, 1 << 32
	if e := t.ExpirationSeconds; e != nil && *e < shortest {
		v.invalid(at.Child("expirationSeconds"), *e, "may not specify a duration less than 10 minutes")
	} else if e != nil && *e > longest {
		v.invalid(at.Child("expirationSeconds"), *e, "may not specify a duration larger than 2^32 seconds")
	}
	v.filePath(t.Path, volume.Child("path"))
}

// claimTemplate judges the claim that is made for a pod, and that its name can be one.
func (v *podValidator) claimTemplate(vol *corev1.Volume, at *field.Path) {
	template := vol.Ephemeral.VolumeClaimTemplate
	if template == nil {
		v.add(field.Required(at.Child("ephemeral", "volumeClaimTemplate"), ""))
	} else {
		v.add(validateClaimTemplate(template, at.Child("ephemeral", "volumeClaimTemplate"))...)
	}
	if v.podName() == "" || vol.Name == "" {
		return
	}
	name := v.podName() + "-" + vol.Name
	for _, msg := range validation.NameIsDNSSubdomain(name, false) {
		v.invalid(at.Child("name"), vol.Name, fmt.Sprintf("PVC name %q: %v", name, msg))
	}
}
