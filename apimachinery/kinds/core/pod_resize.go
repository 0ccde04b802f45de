package core

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
)

// resize is pods/resize, by which what a pod that runs asks for, and may have, of processors and memory is changed
// (KEP-1287, KEP-5419).
func resize() apimachinery.Subresource {
	return apimachinery.Subresource{Verbs: readWrite, Strategy: &apimachinery.Strategy{
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			prepareResize(new.(*corev1.Pod), old.(*corev1.Pod))
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			return validateResize(new.(*corev1.Pod), old.(*corev1.Pod))
		},
	}}
}

// prepareResize keeps all but resources and resize policies, unless containers come, go or change places: that is for
// validation to refuse.
func prepareResize(new, old *corev1.Pod) {
	if len(new.Spec.Containers) == len(old.Spec.Containers) && len(new.Spec.InitContainers) == len(old.Spec.InitContainers) {
		resources := new.Spec.Resources
		list, first := resized(new.Spec.Containers, old.Spec.Containers), resized(new.Spec.InitContainers, old.Spec.InitContainers)
		keepMeta(new, old)
		new.Status, new.Spec = old.Status, old.Spec
		new.Spec.Resources, new.Spec.Containers, new.Spec.InitContainers = resources, list, first
	} else {
		dropGatedStatus(&new.Status)
	}
	dropGated(&new.Spec, &old.Spec)
	countSpec(new, old)
}

// resized are the old containers with the new resources; the new containers if they are others.
func resized(new, old []corev1.Container) []corev1.Container {
	out := slices.Clone(old)
	for i := range new {
		if new[i].Name != old[i].Name {
			return new
		}
		out[i].Resources, out[i].ResizePolicy = new[i].Resources, new[i].ResizePolicy
	}
	return out
}

var (
	sameContainer    = same.Func[corev1.Container]()
	sameRequirements = same.Func[corev1.ResourceRequirements]()
)

func validateResize(new, old *corev1.Pod) field.ErrorList {
	switch {
	case static(old):
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	case windows(&old.Spec):
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	errs := ValidatePod(new)
	before := old.Status.QOSClass
	if before == "" {
		before = QOS(&old.Spec)
	}
	if QOS(&new.Spec) != before {
		errs = append(errs, field.Invalid(spec, new.Status.QOSClass, "Pod QOS Class may not change as a result of resizing"))
	}
	if !resizable(old) {
		errs = append(errs, field.Forbidden(spec, "Pod running on node without support for resize"))
	}
	kept := new.Spec
	errs = append(errs, validatePodResize(&kept, &old.Spec)...)
	if wrong := validateSameContainers(&new.Spec, &old.Spec); len(wrong) > 0 {
		return append(errs, wrong...)
	}
	errs = append(errs, validateContainersResize(&kept, &old.Spec)...)
	if len(errs) == 0 && !samePodSpec(&kept, &old.Spec) {
		errs = append(errs, field.Forbidden(spec, "only cpu and memory resources are mutable"))
	}
	return errs
}

// resizable says whether the pod's node knows of resizing: it then tells what the containers that run have.
func resizable(p *corev1.Pod) bool {
	for i := range p.Status.ContainerStatuses {
		if s := &p.Status.ContainerStatuses[i]; s.State.Running != nil {
			return s.Resources != nil
		}
	}
	return true
}

// validatePodResize judges the resources of the pod as a whole, and puts back in new what may be changed of them.
func validatePodResize(new, old *corev1.PodSpec) field.ErrorList {
	has := func(r *corev1.ResourceRequirements) bool { return r != nil && len(r.Requests)+len(r.Limits) > 0 }
	n, o, path := new.Resources, old.Resources, spec.Child("resources")
	switch {
	case !has(n) && !has(o):
		return nil
	case n == nil:
		return field.ErrorList{field.Forbidden(path, "pod-level resources cannot be removed")}
	}
	var errs field.ErrorList
	was := corev1.ResourceRequirements{}
	if o != nil {
		was = *o
	}
	if removed(n.Requests, was.Requests) {
		errs = append(errs, field.Forbidden(path.Child("requests"), "pod-level resource requests cannot be removed"))
	}
	if removed(n.Limits, was.Limits) {
		errs = append(errs, field.Forbidden(path.Child("limits"), "pod-level resource limits cannot be removed"))
	}
	put := corev1.ResourceRequirements{Requests: unmoved(n.Requests, was.Requests), Limits: unmoved(n.Limits, was.Limits), Claims: n.Claims}
	new.Resources = &put
	if o == nil && len(put.Requests)+len(put.Limits)+len(put.Claims) == 0 {
		new.Resources = nil
	} else if o == nil || !sameRequirements(&put, o) {
		errs = append(errs, field.Forbidden(spec, "only cpu and memory resources are mutable at pod-level"))
	}
	return errs
}

func removed(new, old corev1.ResourceList) bool {
	for name := range old {
		if _, ok := new[name]; !ok {
			return true
		}
	}
	return len(old) > len(new)
}

// unmoved is new with the processors and the memory of old.
func unmoved(new, old corev1.ResourceList) corev1.ResourceList {
	out := maps.Clone(new)
	if out == nil && old != nil {
		out = corev1.ResourceList{}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(out, name)
		if q, ok := old[name]; ok {
			out[name] = q
		}
	}
	return out
}

func validateSameContainers(new, old *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	compare := func(name string, new, old []corev1.Container) {
		path := spec.Child(name)
		if len(new) != len(old) {
			errs = append(errs, field.Forbidden(path, name+" may not be added or removed on resize"))
			return
		}
		for i := range old {
			if new[i].Name != old[i].Name {
				errs = append(errs, field.Forbidden(path.Index(i).Child("name"), name+" may not be renamed or reordered on resize"))
			}
		}
	}
	compare("containers", new.Containers, old.Containers)
	compare("initContainers", new.InitContainers, old.InitContainers)
	return errs
}

// validateContainersResize judges the resources of each container, and puts back in new what may be changed of them.
func validateContainersResize(new, old *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	judge := func(n, o *corev1.Container, path *field.Path) {
		if removed(n.Resources.Requests, o.Resources.Requests) {
			errs = append(errs, field.Forbidden(path.Child("resources", "requests"), "resource requests cannot be removed"))
		}
		if removed(n.Resources.Limits, o.Resources.Limits) {
			errs = append(errs, field.Forbidden(path.Child("resources", "limits"), "resource limits cannot be removed"))
		}
	}
	put := func(c, o *corev1.Container, what *field.Path) {
		c.Resources = corev1.ResourceRequirements{Limits: unmoved(c.Resources.Limits, o.Resources.Limits), Requests: unmoved(c.Resources.Requests, o.Resources.Requests)}
		if !sameContainer(c, o) {
			errs = append(errs, field.Forbidden(what, "only cpu and memory resources are mutable"))
		}
	}
	new.InitContainers, new.Containers = slices.Clone(new.InitContainers), slices.Clone(new.Containers)
	for i := range new.InitContainers {
		c, o, at := &new.InitContainers[i], &old.InitContainers[i], spec.Child("initContainers").Index(i)
		judge(c, o, at)
		modified := !sameContainer(c, o)
		put(c, o, at)
		restarts := slices.ContainsFunc(c.ResizePolicy, func(p corev1.ContainerResizePolicy) bool { return p.RestartPolicy == corev1.RestartContainer })
		if modified && !sidecar(c) && restarts {
			errs = append(errs, field.Forbidden(at, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
		}
	}
	for i := range new.Containers {
		judge(&new.Containers[i], &old.Containers[i], spec.Child("containers").Index(i))
		put(&new.Containers[i], &old.Containers[i], spec)
	}
	return errs
}
