package core

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

// PersistentVolumeClaims declares v1 PersistentVolumeClaim.
func PersistentVolumeClaims() apimachinery.Resource {
	type claim = *corev1.PersistentVolumeClaim
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "persistentvolumeclaims"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.PersistentVolumeClaim{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"),
			Plural:           "persistentvolumeclaims", Short: []string{"pvc"},
			Columns: claimColumns(),
		}},
		Default: func(o apimachinery.Object) { defaultClaim(o.(claim)) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) { prepareClaim(new.(claim), old) },
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(claim)
			if old == nil {
				return append(ValidateFinalizers(n), validateClaimSpec(&n.Spec, spec)...)
			}
			return append(ValidateFinalizers(n), validateClaimUpdate(n, old.(claim))...)
		},
		Warnings: func(new, _ apimachinery.Object) []string { return claimWarnings(new.(claim)) },
		Echo:     true,
		Subs:     map[string]apimachinery.Subresource{"status": statusOf(prepareClaimStatus, validateClaimStatus)},
	}
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	set(&c.Status.Phase, corev1.ClaimPending)
	defaultTo(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundResources(c.Spec.Resources.Limits)
	roundResources(c.Spec.Resources.Requests)
	roundResources(c.Status.Capacity)
	roundResources(c.Status.AllocatedResources)
}

var claimHealth = gatedField[corev1.PersistentVolumeClaimStatus]("HealthStatus")

func prepareClaim(new *corev1.PersistentVolumeClaim, old apimachinery.Object) {
	before := &corev1.PersistentVolumeClaimSpec{}
	if old == nil {
		new.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	} else {
		new.Status, before = old.(*corev1.PersistentVolumeClaim).Status, &old.(*corev1.PersistentVolumeClaim).Spec
	}
	if elsewhere(new.Spec.DataSourceRef) && before.DataSourceRef == nil { // claims of other namespaces' data are alpha
		new.Spec.DataSourceRef = nil
	}
	dropForeignSource(&new.Spec, before)
	pairSources(&new.Spec)
}

func elsewhere(r *corev1.TypedObjectReference) bool {
	return r != nil && r.Namespace != nil && *r.Namespace != ""
}

// dropForeignSource takes out what the old field never meant: anything but a claim or a snapshot. Whoever uses the new
// field, too, or has a source already, is told so instead.
func dropForeignSource(s, old *corev1.PersistentVolumeClaimSpec) {
	d := s.DataSource
	if d == nil || old.DataSource != nil || old.DataSourceRef != nil || s.DataSourceRef != nil {
		return
	}
	group := ""
	if d.APIGroup != nil {
		group = *d.APIGroup
	}
	if (d.Kind != "PersistentVolumeClaim" || group != "") && (d.Kind != "VolumeSnapshot" || group != "snapshot.storage.k8s.io") {
		s.DataSource = nil
	}
}

// pairSources lets the old field of a data source follow the new one, and the other way round (KEP-1495).
func pairSources(s *corev1.PersistentVolumeClaimSpec) {
	switch d, r := s.DataSource, s.DataSourceRef; {
	case d != nil && r == nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: copyOf(d.APIGroup), Kind: d.Kind, Name: d.Name}
	case d == nil && r != nil && !elsewhere(r):
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: copyOf(r.APIGroup), Kind: r.Kind, Name: r.Name}
	}
}

func copyOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

var sameClaimSpec = same.Func[corev1.PersistentVolumeClaimSpec]()

// validateClaimUpdate lets a claim get a volume, once, a class if it has none, and, if it is bound, another size and
// other attributes.
func validateClaimUpdate(new, old *corev1.PersistentVolumeClaim) field.ErrorList {
	before := old.Spec // as if it had been written today
	pairSources(&before)
	loose := claimRules{
		groups:   before.DataSource != nil && before.DataSource.APIGroup != nil || before.DataSourceRef != nil && before.DataSourceRef.APIGroup != nil,
		selector: before.Selector != nil && len(validateSelector(before.Selector, nil)) > 0,
	}
	errs := loose.validate(&new.Spec, spec)
	n, o, bound := new.Spec, before, new.Status.Phase == corev1.ClaimBound
	if o.VolumeName == "" {
		o.VolumeName = n.VolumeName
	}
	if classMoved(new, old) {
		n.StorageClassName = nil
	} else {
		errs = append(errs, validateClassAnnotation(new, old)...)
		if class, known := old.Annotations[corev1.BetaStorageClassAnnotation]; n.StorageClassName != nil && o.StorageClassName == nil && (!known || class == *n.StorageClassName) {
			n.StorageClassName = nil
		}
	}
	if bound && n.Resources.Requests != nil {
		n.Resources.Requests = maps.Clone(n.Resources.Requests)
		n.Resources.Requests[corev1.ResourceStorage] = o.Resources.Requests[corev1.ResourceStorage]
	}
	if bound {
		n.VolumeAttributesClassName = o.VolumeAttributesClassName
	}
	if !sameClaimSpec(&n, &o) {
		errs = append(errs, field.Forbidden(spec, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"))
	}
	return append(errs, validateClaimChange(new, old)...)
}

// classMoved says whether the class moves from the annotation, which may stay, to its field.
func classMoved(new, old *corev1.PersistentVolumeClaim) bool {
	had, ok := old.Annotations[corev1.BetaStorageClassAnnotation]
	has, kept := new.Annotations[corev1.BetaStorageClassAnnotation]
	class := new.Spec.StorageClassName
	return ok && old.Spec.StorageClassName == nil && class != nil && *class == had && (!kept || has == had)
}

func validateClassAnnotation(new, old *corev1.PersistentVolumeClaim) field.ErrorList {
	n, o := new.Annotations[corev1.BetaStorageClassAnnotation], old.Annotations[corev1.BetaStorageClassAnnotation]
	if n == o {
		return nil
	}
	return field.ErrorList{immutable(field.NewPath("metadata", "annotations", corev1.BetaStorageClassAnnotation), n, "")}
}

// validateClaimChange judges the parts of a claim that may change: a size may shrink again as long as nobody has made
// the volume as large (KEP-1790).
func validateClaimChange(new, old *corev1.PersistentVolumeClaim) field.ErrorList {
	var errs field.ErrorList
	size, before := new.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if have := old.Status.Capacity[corev1.ResourceStorage]; size.Cmp(before) < 0 && size.Cmp(have) <= 0 {
		errs = append(errs, field.Forbidden(spec.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	if n, o := new.Spec.VolumeMode, old.Spec.VolumeMode; (n == nil) != (o == nil) || n != nil && *n != *o {
		errs = append(errs, immutable(field.NewPath("volumeMode"), n, ""))
	}
	if n := new.Spec.VolumeAttributesClassName; old.Status.CurrentVolumeAttributesClassName != nil {
		at := spec.Child("volumeAttributesClassName")
		if o := old.Spec.VolumeAttributesClassName; n == nil && o != nil {
			errs = append(errs, field.Forbidden(at, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil"))
		} else if n != nil && *n == "" && (o == nil || *o != "") {
			errs = append(errs, field.Forbidden(at, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil"))
		}
	}
	return errs
}

func prepareClaimStatus(new, old *corev1.PersistentVolumeClaim) {
	new.Spec = old.Spec
	claimHealth.blank(&new.Status)
}

func validateClaimStatus(new, _ *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := ValidateFinalizers(new)
	if len(new.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(field.NewPath("Spec", "accessModes"), ""))
	}
	amount := func(list corev1.ResourceList, name corev1.ResourceName, path *field.Path) field.ErrorList {
		if q := list[name]; q.Value() < 0 {
			return invalid(path.Key(string(name)), q.Value(), "must be a valid resource quantity")
		}
		return nil
	}
	for _, name := range sortedKeys(new.Status.Capacity) {
		errs = append(errs, amount(new.Status.Capacity, name, status.Child("capacity"))...)
	}
	resizes, allocated := status.Child("allocatedResourceStatuses"), status.Child("allocatedResources")
	for _, name := range sortedKeys(new.Status.AllocatedResourceStatuses) {
		errs = append(errs, validateClaimResource(name, resizes)...)
		if s := new.Status.AllocatedResourceStatuses[name]; !slices.Contains(resizeStates, s) {
			errs = append(errs, field.NotSupported(resizes, name, resizeStates))
		}
	}
	for _, name := range sortedKeys(new.Status.AllocatedResources) {
		if wrong := validateClaimResource(name, allocated); len(wrong) > 0 {
			errs = append(errs, wrong...)
			continue
		}
		if wrong := amount(new.Status.AllocatedResources, name, allocated); len(wrong) > 0 {
			errs = append(errs, wrong...)
			continue
		}
		errs = append(errs, validateAmount(corev1.ResourceStorage, new.Status.AllocatedResources[name], allocated.Key(string(name)))...)
	}
	return errs
}

var resizeStates = []corev1.ClaimResourceStatus{
	corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimControllerResizeInProgress,
	corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizePending,
}

// validateClaimResource lets claims have storage, and what others than Kubernetes name.
func validateClaimResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if msgs := utilvalidation.IsQualifiedName(string(name)); len(msgs) > 0 {
		return invalid(path, string(name), msgs...)
	}
	if native(name) && name != corev1.ResourceStorage {
		return field.ErrorList{field.NotSupported(path, string(name), []corev1.ResourceName{corev1.ResourceStorage})}
	}
	return nil
}

func claimWarnings(c *corev1.PersistentVolumeClaim) []string {
	var out []string
	if _, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		out = append(out, fmt.Sprintf(`%s: deprecated since v1.8; use "storageClassName" attribute instead`, field.NewPath("metadata", "annotations").Key(corev1.BetaStorageClassAnnotation)))
	}
	return append(out, claimSpecWarnings(&c.Spec, spec)...)
}

func claimSpecWarnings(s *corev1.PersistentVolumeClaimSpec, path *field.Path) []string {
	out := fractionWarnings(s.Resources.Requests, path.Child("resources", "requests"), corev1.ResourceStorage)
	return append(out, fractionWarnings(s.Resources.Limits, path.Child("resources", "limits"), corev1.ResourceStorage)...)
}

func claimColumns() []apimachinery.Column {
	type claim = *corev1.PersistentVolumeClaim
	whenBound := func(of func(claim) string) func(claim) any {
		return func(c claim) any {
			if c.Spec.VolumeName == "" {
				return ""
			}
			return of(c)
		}
	}
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Status", "string", func(c claim) any {
			if c.DeletionTimestamp != nil {
				return "Terminating"
			}
			return string(c.Status.Phase)
		}),
		apimachinery.ColumnOf("Volume", "string", func(c claim) any { return c.Spec.VolumeName }),
		apimachinery.ColumnOf("Capacity", "string", whenBound(func(c claim) string { return storageOf(c.Status.Capacity) })),
		apimachinery.ColumnOf("Access Modes", "string", whenBound(func(c claim) string { return accessModes(c.Status.AccessModes) })),
		apimachinery.ColumnOf("StorageClass", "string", func(c claim) any {
			if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				return class
			}
			if c.Spec.StorageClassName != nil {
				return *c.Spec.StorageClassName
			}
			return ""
		}),
		apimachinery.ColumnOf("VolumeAttributesClass", "string", func(c claim) any { return orUnset(c.Spec.VolumeAttributesClassName) }),
		apimachinery.AgeColumn(),
		wide("VolumeMode", "string", func(c claim) any { return orUnset(c.Spec.VolumeMode) }),
	}
}

// accessModes abbreviates modes.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		text string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			out = append(out, m.text)
		}
	}
	return strings.Join(out, ",")
}
