package storage

import (
	"context"
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// CSIDrivers declares storage.k8s.io/v1 CSIDriver.
func CSIDrivers() apimachinery.Resource {
	type driver = *storagev1.CSIDriver
	r := declared("CSIDriver", "csidrivers", func() apimachinery.Object { return &storagev1.CSIDriver{} })
	r.Views[0].Columns = []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("AttachRequired", "boolean", func(d driver) any { return orElse(d.Spec.AttachRequired, true) }),
		apimachinery.ColumnOf("PodInfoOnMount", "boolean", func(d driver) any { return orElse(d.Spec.PodInfoOnMount, false) }),
		apimachinery.ColumnOf("StorageCapacity", "boolean", func(d driver) any { return orElse(d.Spec.StorageCapacity, false) }),
		apimachinery.ColumnOf("TokenRequests", "string", func(d driver) any { return audiences(d.Spec.TokenRequests) }),
		apimachinery.ColumnOf("RequiresRepublish", "boolean", func(d driver) any { return orElse(d.Spec.RequiresRepublish, false) }),
		apimachinery.ColumnOf("Modes", "string", func(d driver) any { return modes(d.Spec.VolumeLifecycleModes) }),
		apimachinery.AgeColumn(),
	}
	r.Conditional = true
	r.Default = func(o apimachinery.Object) { defaultDriver(&o.(driver).Spec) }
	r.Prepare = func(_ context.Context, new, old apimachinery.Object) {
		n := new.(driver)
		if o, ok := old.(driver); ok && !equality.Semantic.DeepEqual(n.Spec, o.Spec) {
			n.Generation = o.Generation + 1
		}
	}
	r.Validate = func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
		n := new.(driver)
		errs := append(core.ValidateFinalizers(n), validateDriverSpec(&n.Spec)...)
		if o, ok := old.(driver); ok {
			errs = append(errs, validation.ValidateImmutableField(n.Spec.AttachRequired, o.Spec.AttachRequired, spec.Child("attachedRequired"))...)
			errs = append(errs, validation.ValidateImmutableField(n.Spec.VolumeLifecycleModes, o.Spec.VolumeLifecycleModes, spec.Child("volumeLifecycleModes"))...)
		}
		return errs
	}
	r.Warnings = func(new, old apimachinery.Object) []string {
		s := &new.(driver).Spec
		if len(s.TokenRequests) == 0 || s.ServiceAccountTokenInSecrets != nil {
			return nil
		}
		if o, ok := old.(driver); ok && equality.Semantic.DeepEqual(s.TokenRequests, o.Spec.TokenRequests) {
			return nil
		}
		return []string{"spec.serviceAccountTokenInSecrets is not set: true keeps tokens out of the volume's attributes, which drivers may log"}
	}
	return r
}

func defaultDriver(s *storagev1.CSIDriverSpec) {
	setDefault(&s.AttachRequired, true)
	setDefault(&s.PodInfoOnMount, false)
	setDefault(&s.StorageCapacity, false)
	setDefault(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	setDefault(&s.RequiresRepublish, false)
	setDefault(&s.SELinuxMount, false)
	setDefault(&s.PreventPodSchedulingIfMissing, false) // KEP-5030: beta in v1.37
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}

// validateDriverSpec has "attachedRequired" where the field is attachRequired, as Kubernetes has.
func validateDriverSpec(s *storagev1.CSIDriverSpec) field.ErrorList {
	var errs field.ErrorList
	require := func(b *bool, name string) {
		if b == nil {
			errs = append(errs, field.Required(spec.Child(name), ""))
		}
	}
	require(s.AttachRequired, "attachedRequired")
	require(s.PodInfoOnMount, "podInfoOnMount")
	require(s.StorageCapacity, "storageCapacity")
	policies := []storagev1.FSGroupPolicy{storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy}
	if p := s.FSGroupPolicy; p != nil && !slices.Contains(policies, *p) {
		errs = append(errs, field.NotSupported(spec.Child("fsGroupPolicy"), *p, policies))
	}
	errs = append(errs, validateTokenRequests(s.TokenRequests, spec.Child("tokenRequests"))...)
	for _, m := range s.VolumeLifecycleModes {
		if m != storagev1.VolumeLifecyclePersistent && m != storagev1.VolumeLifecycleEphemeral {
			errs = append(errs, field.NotSupported(spec.Child("volumeLifecycleModes"), m,
				[]storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}))
		}
	}
	require(s.SELinuxMount, "seLinuxMount")
	const shortest = 10
	if p := s.NodeAllocatableUpdatePeriodSeconds; p != nil && *p < shortest {
		errs = append(errs, field.Invalid(spec.Child("nodeAllocatableUpdatePeriodSeconds"), *p, "must be greater than or equal to 10 seconds"))
	}
	if in := s.ServiceAccountTokenInSecrets; in != nil && len(s.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(spec.Child("serviceAccountTokenInSecrets"), *in, "may only be set beside tokenRequests"))
	}
	require(s.PreventPodSchedulingIfMissing, "preventPodSchedulingIfMissing")
	return errs
}

func validateTokenRequests(requests []storagev1.TokenRequest, path *field.Path) field.ErrorList {
	const shortest, longest = 600, 1 << 32
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, r := range requests {
		at := path.Index(i)
		if seen[r.Audience] {
			errs = append(errs, field.Duplicate(at.Child("audience"), r.Audience))
			continue
		}
		seen[r.Audience] = true
		switch e := r.ExpirationSeconds; {
		case e == nil:
		case *e < shortest:
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *e, "may not specify a duration less than 10 minutes"))
		case *e > longest:
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *e, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	return errs
}

func audiences(requests []storagev1.TokenRequest) string {
	if requests == nil {
		return "<unset>"
	}
	var out []string
	for _, r := range requests {
		out = append(out, r.Audience)
	}
	return strings.Join(out, ",")
}

func modes(all []storagev1.VolumeLifecycleMode) string {
	var out []string
	for _, m := range all {
		out = append(out, string(m))
	}
	if text := strings.Join(out, ","); text != "" {
		return text
	}
	return "<none>"
}
