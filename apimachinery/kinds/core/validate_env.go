package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

func (v *podValidator) env(env []corev1.EnvVar, path *place) {
	for i, e := range env {
		at := path.index(i)
		v.required(e.Name, at.child("name"))
		if e.Name != "" {
			v.form(at.child("name"), e.Name, forms.EnvName)
		}
		if e.ValueFrom != nil {
			v.envSource(e, at.child("valueFrom"))
		}
	}
}

// The fields of a pod that the downward API gives to the environment.
var envFieldPaths = []string{
	"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
	"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
}

func (v *podValidator) envSource(e corev1.EnvVar, at *place) {
	from, sources := e.ValueFrom, 0
	if r := from.FieldRef; r != nil {
		sources++
		v.fieldRef(r, at.child("fieldRef"), envFieldPaths)
	}
	if r := from.ResourceFieldRef; r != nil {
		sources++
		v.resourceRef(r, at.child("resourceFieldRef"), false)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		v.keyRef(r.Name, r.Key, at.child("configMapKeyRef"))
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		v.keyRef(r.Name, r.Key, at.child("secretKeyRef"))
	}
	if r := from.FileKeyRef; r != nil {
		sources++
		v.fileKeyRef(r, at.child("fileKeyRef"))
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

func (v *podValidator) keyRef(name, key string, at *place) {
	v.form(at.child("name"), name, forms.Subdomain)
	v.required(key, at.child("key"))
	if key != "" {
		v.form(at.child("key"), key, forms.ConfigMapKey)
	}
}

// fileKeyRef judges a variable that is read from a file (KEP-3721).
func (v *podValidator) fileKeyRef(r *corev1.FileKeySelector, at *place) {
	v.required(r.Key, at.child("key"))
	if r.Key != "" {
		v.form(at.child("key"), r.Key, forms.EnvName)
	}
	v.required(r.VolumeName, at.child("volumeName"))
	if r.VolumeName != "" {
		v.form(at.child("volumeName"), r.VolumeName, forms.Label)
	}
	v.required(r.Path, at.child("path"))
	v.add(validateNoBackstep(r.Path, at.child("path"))...)
}

// fileKeys sees to it that files of variables lie in an emptyDir.
func (v *podValidator) fileKeys() {
	v.visit(func(c *corev1.Container, at *place) {
		for i, e := range c.Env {
			if e.ValueFrom == nil || e.ValueFrom.FileKeyRef == nil {
				continue
			}
			name, at := e.ValueFrom.FileKeyRef.VolumeName, at.child("env").index(i).child("valueFrom").child("fileKeyRef").child("volumeName")
			switch vol := v.lastVolume(name); {
			case vol == nil:
				v.add(field.NotFound(at.path(), name))
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

func (v *podValidator) fieldRef(r *corev1.ObjectFieldSelector, at *place, supported []string) {
	switch {
	case r.APIVersion == "":
		v.add(field.Required(at.child("apiVersion").path(), ""))
		return
	case r.FieldPath == "":
		v.add(field.Required(at.child("fieldPath").path(), ""))
		return
	}
	base, key, subscripted := subscript(r.FieldPath)
	switch {
	case r.APIVersion != "v1":
		v.invalid(at.child("fieldPath"), r.FieldPath, "unsupported pod version: "+r.APIVersion)
	case subscripted && base == "metadata.annotations":
		v.add(validateQualifiedName(strings.ToLower(key), at.path())...)
	case subscripted && base == "metadata.labels":
		v.add(validateQualifiedName(key, at.path())...)
	case subscripted:
		v.invalid(at.child("fieldPath"), r.FieldPath, "field label does not support subscript: "+r.FieldPath)
	case !slices.Contains(podFieldPaths, r.FieldPath):
		v.invalid(at.child("fieldPath"), r.FieldPath, "field label not supported: "+r.FieldPath)
	default:
		path := r.FieldPath
		if path == "spec.host" {
			path = "spec.nodeName" // its first name
		}
		if !slices.Contains(supported, path) {
			v.add(field.NotSupported(at.child("fieldPath").path(), path, supported))
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

func (v *podValidator) resourceRef(r *corev1.ResourceFieldSelector, at *place, volume bool) {
	huge := strings.HasPrefix(r.Resource, "limits.hugepages-") || strings.HasPrefix(r.Resource, "requests.hugepages-")
	switch {
	case volume && r.ContainerName == "":
		v.add(field.Required(at.child("containerName").path(), ""))
	case r.Resource == "":
		v.add(field.Required(at.child("resource").path(), ""))
	case !huge && !slices.Contains(resourceFields, r.Resource):
		v.add(field.NotSupported(at.child("resource").path(), r.Resource, resourceFields))
	}
	if r.Divisor.IsZero() || !huge && !slices.Contains(resourceFields, r.Resource) {
		return
	}
	if !isDivisor(r.Divisor, strings.HasSuffix(r.Resource, ".cpu")) {
		v.invalid(at.child("divisor"), r.Resource, "must be 1, or 1m for cpu, or else a power of 1000 or 1024: 1k, 1M, …, 1Ki, 1Mi, …")
	}
}

func isDivisor(q resource.Quantity, cpu bool) bool {
	unit, ok := strings.CutPrefix(q.String(), "1")
	if cpu {
		return ok && (unit == "" || unit == "m")
	}
	return ok && slices.Contains([]string{"", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}, unit)
}

// subdomainPrefix judges what may end with a dash, as Kubernetes has it here.
func subdomainPrefix(name string) []string { return validation.NameIsDNSSubdomain(name, true) }

func (v *podValidator) envFrom(sources []corev1.EnvFromSource, path *place) {
	for i, s := range sources {
		at, count := path.index(i), 0
		if s.Prefix != "" {
			v.form(at.child("prefix"), s.Prefix, forms.EnvName)
		}
		source := func(name string, at *place) {
			count++
			v.required(name, at)
			if name != "" {
				v.form(at, name, subdomainPrefix)
			}
		}
		if s.ConfigMapRef != nil {
			source(s.ConfigMapRef.Name, at.child("configMapRef").child("name"))
		}
		if s.SecretRef != nil {
			source(s.SecretRef.Name, at.child("secretRef").child("name"))
		}
		if count == 0 {
			v.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
		} else if count > 1 {
			v.invalid(path, "", "may not have more than one field specified at a time")
		}
	}
}
