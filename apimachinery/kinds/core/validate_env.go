package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *podValidator) env(env []corev1.EnvVar, path *field.Path) {
	for i, e := range env {
		at := path.Index(i)
		v.required(e.Name, at.Child("name"))
		if e.Name != "" {
			v.invalid(at.Child("name"), e.Name, utilvalidation.IsRelaxedEnvVarName(e.Name)...)
		}
		if e.ValueFrom != nil {
			v.envSource(e, at.Child("valueFrom"))
		}
	}
}

// The fields of a pod that the downward API gives to the environment.
var envFieldPaths = []string{
	"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
	"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
}

func (v *podValidator) envSource(e corev1.EnvVar, at *field.Path) {
	from, sources := e.ValueFrom, 0
	if r := from.FieldRef; r != nil {
		sources++
		v.fieldRef(r, at.Child("fieldRef"), envFieldPaths)
	}
	if r := from.ResourceFieldRef; r != nil {
		sources++
		v.resourceRef(r, at.Child("resourceFieldRef"), false)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		v.keyRef(r.Name, r.Key, at.Child("configMapKeyRef"))
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		v.keyRef(r.Name, r.Key, at.Child("secretKeyRef"))
	}
	if r := from.FileKeyRef; r != nil {
		sources++
		v.fileKeyRef(r, at.Child("fileKeyRef"))
	}
	switch {
	case sources == 0:
		v.invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case e.Value != "":
		v.invalid(at, "", "may not be specified when `value` is not empty")
	case sources > 1:
		v.invalid(at, "", "may not have more than one field specified at a time")
	}
}

func (v *podValidator) keyRef(name, key string, at *field.Path) {
	v.invalid(at.Child("name"), name, validation.NameIsDNSSubdomain(name, false)...)
	v.required(key, at.Child("key"))
	if key != "" {
		v.invalid(at.Child("key"), key, utilvalidation.IsConfigMapKey(key)...)
	}
}

// fileKeyRef judges a variable that is read from a file (KEP-3721).
func (v *podValidator) fileKeyRef(r *corev1.FileKeySelector, at *field.Path) {
	v.required(r.Key, at.Child("key"))
	if r.Key != "" {
		v.invalid(at.Child("key"), r.Key, utilvalidation.IsRelaxedEnvVarName(r.Key)...)
	}
	v.required(r.VolumeName, at.Child("volumeName"))
	if r.VolumeName != "" {
		v.invalid(at.Child("volumeName"), r.VolumeName, utilvalidation.IsDNS1123Label(r.VolumeName)...)
	}
	v.required(r.Path, at.Child("path"))
	v.add(validateNoBackstep(r.Path, at.Child("path"))...)
}

// fileKeys sees to it that files of variables lie in an emptyDir.
func (v *podValidator) fileKeys() {
	v.visit(func(c *corev1.Container, at *field.Path) {
		for i, e := range c.Env {
			if e.ValueFrom == nil || e.ValueFrom.FileKeyRef == nil {
				continue
			}
			name, at := e.ValueFrom.FileKeyRef.VolumeName, at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			switch vol := v.lastVolume(name); {
			case vol == nil:
				v.add(field.NotFound(at, name))
			case vol.EmptyDir == nil:
				v.invalid(at, name, "referenced volume must be of type emptyDir")
			}
		}
	})
}

func (v *podValidator) lastVolume(name string) *corev1.Volume {
	for i := len(v.spec.Volumes) - 1; i >= 0; i-- {
		if v.spec.Volumes[i].Name == name {
			return &v.spec.Volumes[i]
		}
	}
	return nil
}

// The fields of a pod that the API knows by such a path, whether or not a place may use them.
var podFieldPaths = slices.Concat(envFieldPaths, []string{
	"metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host",
})

func (v *podValidator) fieldRef(r *corev1.ObjectFieldSelector, at *field.Path, supported []string) {
	switch {
	case r.APIVersion == "":
		v.add(field.Required(at.Child("apiVersion"), ""))
		return
	case r.FieldPath == "":
		v.add(field.Required(at.Child("fieldPath"), ""))
		return
	}
	base, key, subscripted := subscript(r.FieldPath)
	switch {
	case r.APIVersion != "v1":
		v.invalid(at.Child("fieldPath"), r.FieldPath, "unsupported pod version: "+r.APIVersion)
	case subscripted && base == "metadata.annotations":
		v.add(validateQualifiedName(strings.ToLower(key), at)...)
	case subscripted && base == "metadata.labels":
		v.add(validateQualifiedName(key, at)...)
	case subscripted:
		v.invalid(at.Child("fieldPath"), r.FieldPath, "field label does not support subscript: "+r.FieldPath)
	case !slices.Contains(podFieldPaths, r.FieldPath):
		v.invalid(at.Child("fieldPath"), r.FieldPath, "field label not supported: "+r.FieldPath)
	default:
		path := r.FieldPath
		if path == "spec.host" {
			path = "spec.nodeName" // its first name
		}
		if !slices.Contains(supported, path) {
			v.add(field.NotSupported(at.Child("fieldPath"), path, supported))
		}
	}
}

// subscript splits metadata.labels['app'] into its field and its key.
func subscript(p string) (base, key string, ok bool) {
	p, closed := strings.CutSuffix(p, "']")
	base, key, opened := strings.Cut(p, "['")
	return base, key, closed && opened && base != ""
}

// The resources of a container that the downward API tells, huge pages apart.
var resourceFields = []string{
	"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
}

func (v *podValidator) resourceRef(r *corev1.ResourceFieldSelector, at *field.Path, volume bool) {
	huge := strings.HasPrefix(r.Resource, "limits.hugepages-") || strings.HasPrefix(r.Resource, "requests.hugepages-")
	switch {
	case volume && r.ContainerName == "":
		v.add(field.Required(at.Child("containerName"), ""))
	case r.Resource == "":
		v.add(field.Required(at.Child("resource"), ""))
	case !huge && !slices.Contains(resourceFields, r.Resource):
		v.add(field.NotSupported(at.Child("resource"), r.Resource, resourceFields))
	}
	if r.Divisor.IsZero() || !huge && !slices.Contains(resourceFields, r.Resource) {
		return
	}
	if !isDivisor(r.Divisor, strings.HasSuffix(r.Resource, ".cpu")) {
		v.invalid(at.Child("divisor"), r.Resource, "must be 1, or 1m for cpu, or else a power of 1000 or 1024: 1k, 1M, …, 1Ki, 1Mi, …")
	}
}

func isDivisor(q resource.Quantity, cpu bool) bool {
	unit, ok := strings.CutPrefix(q.String(), "1")
	if cpu {
		return ok && (unit == "" || unit == "m")
	}
	return ok && slices.Contains([]string{"", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}, unit)
}

func (v *podValidator) envFrom(sources []corev1.EnvFromSource, path *field.Path) {
	for i, s := range sources {
		at, count := path.Index(i), 0
		if s.Prefix != "" {
			v.invalid(at.Child("prefix"), s.Prefix, utilvalidation.IsRelaxedEnvVarName(s.Prefix)...)
		}
		source := func(name string, at *field.Path) {
			count++
			v.required(name, at)
			if name != "" {
				v.invalid(at, name, validation.NameIsDNSSubdomain(name, true)...)
			}
		}
		if s.ConfigMapRef != nil {
			source(s.ConfigMapRef.Name, at.Child("configMapRef", "name"))
		}
		if s.SecretRef != nil {
			source(s.SecretRef.Name, at.Child("secretRef", "name"))
		}
		if count == 0 {
			v.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
		} else if count > 1 {
			v.invalid(path, "", "may not have more than one field specified at a time")
		}
	}
}
