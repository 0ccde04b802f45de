package core

import (
	"path"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *podValidator) volumes() {
	v.volumeNames = map[string]corev1.Volume{}
	names := distinct{}
	for i := range v.spec.Volumes {
		vol, at := &v.spec.Volumes[i], v.path.Child("volumes").Index(i)
		if vol.Name == "" {
			v.add(field.Required(at.Child("name"), ""))
		} else {
			v.invalid(at.Child("name"), vol.Name, utilvalidation.IsDNS1123Label(vol.Name)...)
			v.add(names.check(vol.Name, at.Child("name"))...)
		}
		v.volumeNames[vol.Name] = *vol
		v.oneSource(vol, at)
		v.volumeSource(vol, at)
	}
}

// oneSource sees to it that a volume has exactly one type, whichever types the API knows.
func (v *podValidator) oneSource(vol *corev1.Volume, at *field.Path) {
	source, count := reflect.ValueOf(vol.VolumeSource), 0
	for i := range source.NumField() {
		if source.Field(i).IsNil() {
			continue
		}
		if count++; count > 1 {
			name, _, _ := strings.Cut(source.Type().Field(i).Tag.Get("json"), ",")
			v.add(field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
		}
	}
	if count == 0 {
		v.add(field.Required(at, "must specify a volume type"))
	}
}

func (v *podValidator) volumeSource(vol *corev1.Volume, at *field.Path) {
	switch {
	case vol.EmptyDir != nil:
		v.emptyDir(vol.EmptyDir, at.Child("emptyDir"))
	case vol.HostPath != nil:
		v.hostPath(vol.HostPath, at.Child("hostPath"))
	case vol.ConfigMap != nil:
		p := at.Child("configMap")
		v.required(vol.ConfigMap.Name, p.Child("name"))
		v.mode(vol.ConfigMap.DefaultMode, p.Child("defaultMode"))
		v.items(vol.ConfigMap.Items, p.Child("items"))
	case vol.Secret != nil:
		p := at.Child("secret")
		v.required(vol.Secret.SecretName, p.Child("secretName"))
		v.mode(vol.Secret.DefaultMode, p.Child("defaultMode"))
		v.items(vol.Secret.Items, p.Child("items"))
	case vol.DownwardAPI != nil:
		p := at.Child("downwardAPI")
		v.mode(vol.DownwardAPI.DefaultMode, p.Child("defaultMode"))
		v.downward(vol.DownwardAPI.Items, p)
	case vol.Projected != nil:
		v.projected(vol.Projected, at.Child("projected"))
	default:
		v.storageSource(vol, at)
	}
}

func (v *podValidator) storageSource(vol *corev1.Volume, at *field.Path) {
	switch {
	case vol.PersistentVolumeClaim != nil:
		v.required(vol.PersistentVolumeClaim.ClaimName, at.Child("persistentVolumeClaim", "claimName"))
	case vol.CSI != nil:
		v.required(vol.CSI.Driver, at.Child("csi", "driver"))
		if vol.CSI.Driver != "" {
			v.invalid(at.Child("csi", "driver"), vol.CSI.Driver, utilvalidation.IsDNS1123Subdomain(strings.ToLower(vol.CSI.Driver))...)
		}
	case vol.Ephemeral != nil:
		if vol.Ephemeral.VolumeClaimTemplate == nil {
			v.add(field.Required(at.Child("ephemeral", "volumeClaimTemplate"), ""))
		}
	case vol.NFS != nil:
		p := at.Child("nfs")
		v.required(vol.NFS.Server, p.Child("server"))
		v.required(vol.NFS.Path, p.Child("path"))
		if vol.NFS.Path != "" && !path.IsAbs(vol.NFS.Path) {
			v.invalid(p.Child("path"), vol.NFS.Path, "must be an absolute path")
		}
	case vol.ISCSI != nil:
		v.required(vol.ISCSI.TargetPortal, at.Child("iscsi", "targetPortal"))
		v.required(vol.ISCSI.IQN, at.Child("iscsi", "iqn"))
	case vol.Image != nil:
		v.required(vol.Image.Reference, at.Child("image", "reference"))
		switch vol.Image.PullPolicy {
		case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
		default:
			v.add(notOneOf(at.Child("image", "pullPolicy"), vol.Image.PullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever))
		}
	}
}

func (v *podValidator) emptyDir(e *corev1.EmptyDirVolumeSource, at *field.Path) {
	if e.SizeLimit != nil && e.SizeLimit.Sign() < 0 {
		v.add(field.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity"))
	}
	switch m := e.Medium; {
	case m == corev1.StorageMediumDefault, m == corev1.StorageMediumMemory, m == corev1.StorageMediumHugePages,
		strings.HasPrefix(string(m), string(corev1.StorageMediumHugePagesPrefix)):
	default:
		v.add(notOneOf(at.Child("medium"), m, corev1.StorageMediumDefault, corev1.StorageMediumMemory, corev1.StorageMediumHugePages))
	}
}

func (v *podValidator) hostPath(h *corev1.HostPathVolumeSource, at *field.Path) {
	if h.Path == "" {
		v.add(field.Required(at.Child("path"), ""))
		return
	}
	v.noBackstep(h.Path, at.Child("path"))
	types := []corev1.HostPathType{
		corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory, corev1.HostPathFileOrCreate,
		corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev,
	}
	if h.Type == nil {
		return
	}
	for _, t := range types {
		if *h.Type == t {
			return
		}
	}
	v.add(notOneOf(at.Child("type"), *h.Type, types...))
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

// filePath judges a file's path in a volume that is written by us: relative, and no dots that we use ourselves.
func (v *podValidator) filePath(p string, at *field.Path) {
	if p == "" {
		v.add(field.Required(at, ""))
		return
	}
	v.localPath(p, at)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") && p != ".." {
		v.invalid(at, p, "must not start with '..'")
	}
}

// The fields of a pod that the downward API gives to files.
var volumeFieldPaths = []string{
	"metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid",
}

func (v *podValidator) downward(items []corev1.DownwardAPIVolumeFile, path *field.Path) {
	for _, item := range items {
		v.filePath(item.Path, path.Child("path"))
		v.mode(item.Mode, path.Child("mode"))
		switch {
		case item.FieldRef != nil && item.ResourceFieldRef != nil:
			v.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		case item.FieldRef != nil:
			v.fieldRef(item.FieldRef, path.Child("fieldRef"), volumeFieldPaths)
		case item.ResourceFieldRef != nil:
			v.resourceRef(item.ResourceFieldRef, path.Child("resourceFieldRef"), true)
		default:
			v.add(field.Required(path, "one of fieldRef and resourceFieldRef is required"))
		}
	}
}

func (v *podValidator) projected(p *corev1.ProjectedVolumeSource, at *field.Path) {
	v.mode(p.DefaultMode, at.Child("defaultMode"))
	paths := map[string]bool{}
	for i, s := range p.Sources {
		v.projection(s, at.Child("sources").Index(i), func(file string, where *field.Path) {
			if file != "" && paths[file] {
				v.invalid(where, file, "conflicting duplicate paths")
			}
			paths[file] = true
		})
	}
}

func (v *podValidator) projection(s corev1.VolumeProjection, at *field.Path, claim func(string, *field.Path)) {
	count := 0
	one := func(name string, set bool) bool {
		if set {
			if count++; count > 1 {
				v.add(field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
			}
		}
		return set && count == 1
	}
	if one("secret", s.Secret != nil) {
		v.projectedKeys(s.Secret.Name, s.Secret.Items, at.Child("secret"), claim)
	}
	if one("configMap", s.ConfigMap != nil) {
		v.projectedKeys(s.ConfigMap.Name, s.ConfigMap.Items, at.Child("configMap"), claim)
	}
	if one("downwardAPI", s.DownwardAPI != nil) {
		v.downward(s.DownwardAPI.Items, at.Child("downwardAPI"))
		for _, item := range s.DownwardAPI.Items {
			claim(item.Path, at.Child("downwardAPI"))
		}
	}
	if one("serviceAccountToken", s.ServiceAccountToken != nil) {
		v.token(s.ServiceAccountToken, at.Child("serviceAccountToken"))
		claim(s.ServiceAccountToken.Path, at.Child("serviceAccountToken"))
	}
	if one("clusterTrustBundle", s.ClusterTrustBundle != nil) {
		v.filePath(s.ClusterTrustBundle.Path, at.Child("clusterTrustBundle", "path"))
		claim(s.ClusterTrustBundle.Path, at.Child("clusterTrustBundle"))
	}
	one("podCertificate", s.PodCertificate != nil)
	if count == 0 {
		v.add(field.Required(at, "must specify a volume type"))
	}
}

func (v *podValidator) projectedKeys(name string, items []corev1.KeyToPath, at *field.Path, claim func(string, *field.Path)) {
	v.required(name, at.Child("name"))
	v.items(items, at.Child("items"))
	for _, item := range items {
		claim(item.Path, at)
	}
}

func (v *podValidator) token(t *corev1.ServiceAccountTokenProjection, at *field.Path) {
	const shortest, longest = 10 * 60, 1 << 32
	if e := t.ExpirationSeconds; e != nil && *e < shortest {
		v.invalid(at.Child("expirationSeconds"), *e, "may not specify a duration less than 10 minutes")
	} else if e != nil && *e > longest {
		v.invalid(at.Child("expirationSeconds"), *e, "may not specify a duration larger than 2^32 seconds")
	}
	v.filePath(t.Path, at.Child("path"))
}
