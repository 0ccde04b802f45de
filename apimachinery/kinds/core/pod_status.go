package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/bedplate/bedplate/apimachinery"
)

// preparePodStatus keeps the spec and the owners, and what of the status a writer may not take back. Labels and
// annotations may be written with the status.
func preparePodStatus(_ context.Context, new, old apimachinery.Object) {
	n, o := new.(*corev1.Pod), old.(*corev1.Pod)
	n.Spec, n.Generation, n.OwnerReferences = o.Spec, o.Generation, o.OwnerReferences
	n.DeletionTimestamp, n.DeletionGracePeriodSeconds = o.DeletionTimestamp, o.DeletionGracePeriodSeconds
	set(&n.Status.QOSClass, o.Status.QOSClass)
	set(&n.Status.ObservedGeneration, o.Status.ObservedGeneration)
	before := map[corev1.PodConditionType][]int64{} // a type may come twice
	for _, c := range o.Status.Conditions {
		before[c.Type] = append(before[c.Type], c.ObservedGeneration)
	}
	for i := range n.Status.Conditions {
		c := &n.Status.Conditions[i]
		if have := before[c.Type]; len(have) > 0 {
			set(&c.ObservedGeneration, have[0])
			before[c.Type] = have[1:]
		}
	}
	dropGatedStatus(&n.Status)
}

// podAddressWarnings say how addresses are better written that a writer of the status has changed.
func podAddressWarnings(new, old *corev1.Pod) []string {
	if slices.Equal(new.Status.PodIPs, old.Status.PodIPs) && slices.Equal(new.Status.HostIPs, old.Status.HostIPs) {
		return nil
	}
	var out []string
	for i, ip := range new.Status.PodIPs {
		out = append(out, warnOfIP(status.Child("podIPs").Index(i).Child("ip"), ip.IP)...)
	}
	for i, ip := range new.Status.HostIPs {
		out = append(out, warnOfIP(status.Child("hostIPs").Index(i).Child("ip"), ip.IP)...)
	}
	return out
}

// dropGatedStatus takes out the fields of features that Kubernetes has off by default.
func dropGatedStatus(s *corev1.PodStatus) {
	s.NodeAllocatableResourceClaimStatuses = nil
	volumeHealth.blank(s)
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				list[i].VolumeMounts[j].VolumeStatus = nil
			}
		}
	}
}

var status = field.NewPath("status")

func validatePodStatus(_ context.Context, new, old apimachinery.Object) field.ErrorList {
	n, o := new.(*corev1.Pod), old.(*corev1.Pod)
	errs := append(ValidateFinalizers(n), validateAnnotationUpdate(n, o)...)
	errs = append(errs, validateConditions(n.Status.Conditions, status.Child("conditions"))...)
	errs = append(errs, validateNomination(n, o, status.Child("nominatedNodeName"))...)
	if g := n.Status.ObservedGeneration; g < 0 {
		errs = append(errs, field.Invalid(status.Child("observedGeneration"), g, "must be a non-negative integer"))
	}
	errs = append(errs, validation.ValidateImmutableField(n.Status.QOSClass, o.Status.QOSClass, status.Child("qosClass"))...)
	errs = append(errs, validateTransitions(n, o)...)
	errs = append(errs, validateClaimStatuses(n, status.Child("resourceClaimStatuses"))...)
	errs = append(errs, validateExtendedClaim(n, status.Child("extendedResourceClaimStatus"))...)
	errs = append(errs, validatePodIPs(n, o, status.Child("podIPs"))...)
	errs = append(errs, validateHostIPs(n, o, status.Child("hostIPs"))...)
	return append(errs, validateContainerStatuses(n)...)
}

func validateConditions(conditions []corev1.PodCondition, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, c := range conditions {
		if c.ObservedGeneration < 0 {
			errs = append(errs, field.Invalid(path.Index(i).Child("observedGeneration"), c.ObservedGeneration, "must be a non-negative integer"))
		}
		errs = append(errs, validateQualifiedName(string(c.Type), path.Index(i).Child("Type"))...)
	}
	return errs
}

func validateNomination(n, o *corev1.Pod, path *field.Path) field.ErrorList {
	name := n.Status.NominatedNodeName
	if name == "" || name == o.Status.NominatedNodeName {
		return nil
	}
	errs := invalid(path, name, validation.NameIsDNSSubdomain(name, false)...)
	if o.Spec.NodeName != "" {
		errs = append(errs, field.Forbidden(path, "may not be set on pods that are already bound to a node"))
	}
	return errs
}

// validateTransitions keeps a container that has ended for good from running again.
func validateTransitions(n, o *corev1.Pod) field.ErrorList {
	s := &o.Spec
	restarts := func(list []corev1.Container) func(name string, code int32) bool {
		return func(name string, code int32) bool {
			i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name })
			return i >= 0 && restartsAfter(&list[i], s, code)
		}
	}
	never := func(string, int32) bool { return false }
	var errs field.ErrorList
	if !restartsTogether(s) {
		errs = validateTransition(n.Status.ContainerStatuses, o.Status.ContainerStatuses, restarts(s.Containers), status.Child("containerStatuses"))
		errs = append(errs, validateTransition(n.Status.InitContainerStatuses, o.Status.InitContainerStatuses, restarts(s.InitContainers), status.Child("initContainerStatuses"))...)
	}
	return append(errs, validateTransition(n.Status.EphemeralContainerStatuses, o.Status.EphemeralContainerStatuses, never, status.Child("ephemeralContainerStatuses"))...)
}

// restartsTogether says whether some container may have all others restarted (KEP-5532).
func restartsTogether(s *corev1.PodSpec) bool {
	for c := range containers(s) {
		for _, r := range c.RestartPolicyRules {
			if r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

// restartsAfter says whether a container is started again once it has ended with a code: its first rule that
// applies, its own policy and the pod's decide, in this order (KEP-5307).
func restartsAfter(c *corev1.Container, s *corev1.PodSpec, code int32) bool {
	for _, r := range c.RestartPolicyRules {
		if r.ExitCodes == nil || r.Action != corev1.ContainerRestartRuleActionRestart {
			continue
		}
		if listed := slices.Contains(r.ExitCodes.Values, code); listed == (r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	policy := corev1.ContainerRestartPolicy(s.RestartPolicy)
	if c.RestartPolicy != nil {
		policy = *c.RestartPolicy
	}
	return policy == corev1.ContainerRestartPolicyAlways || policy == corev1.ContainerRestartPolicyOnFailure && code != 0
}

func validateTransition(new, old []corev1.ContainerStatus, restarts func(name string, code int32) bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, o := range old {
		t := o.State.Terminated
		if t == nil || restarts(o.Name, t.ExitCode) {
			continue
		}
		if slices.ContainsFunc(new, func(n corev1.ContainerStatus) bool { return n.Name == o.Name && n.State.Terminated == nil }) {
			errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
		}
	}
	return errs
}

func validateClaimStatuses(p *corev1.Pod, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := distinct{}
	for i, s := range p.Status.ResourceClaimStatuses {
		at := path.Index(i)
		if !slices.ContainsFunc(p.Spec.ResourceClaims, func(c corev1.PodResourceClaim) bool { return c.Name == s.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), s.Name, "must match the name of an entry in `spec.resourceClaims`"))
		}
		errs = append(errs, names.check(s.Name, at.Child("name"))...)
		if n := s.ResourceClaimName; n != nil {
			errs = append(errs, invalid(at.Child("resourceClaimName"), *n, validation.NameIsDNSSubdomain(*n, false)...)...)
		}
	}
	return errs
}

// validateExtendedClaim judges the claim that was made for extended resources (KEP-5004).
func validateExtendedClaim(p *corev1.Pod, path *field.Path) field.ErrorList {
	s := p.Status.ExtendedResourceClaimStatus
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	mappings, seen := path.Child("requestMappings"), map[corev1.ContainerExtendedResourceRequest]bool{}
	if len(s.RequestMappings) == 0 {
		errs = append(errs, field.Required(mappings, "at least one request mapping is required"))
	}
	for i, m := range s.RequestMappings {
		at := mappings.Index(i)
		if c := lastContainer(&p.Spec, m.ContainerName); c == nil {
			errs = append(errs, field.Invalid(at.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name"))
		} else if _, ok := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]; !ok {
			errs = append(errs, field.Invalid(at.Child("resourceName"), m.ResourceName, "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests"))
		}
		errs = append(errs, invalid(path.Child("requestName"), m.RequestName, utilvalidation.IsDNS1123Label(m.RequestName)...)...)
		if seen[m] {
			errs = append(errs, field.Duplicate(at.Child("containerName"), m.ContainerName),
				field.Duplicate(at.Child("resourceName"), m.ResourceName), field.Duplicate(at.Child("requestName"), m.RequestName))
		}
		seen[m] = true
	}
	name := path.Child("resourceClaimName")
	if s.ResourceClaimName == "" {
		return append(errs, field.Required(name, ""))
	}
	return append(errs, invalid(name, s.ResourceClaimName, validation.NameIsDNSSubdomain(s.ResourceClaimName, false)...)...)
}

func lastContainer(s *corev1.PodSpec, name string) (found *corev1.Container) {
	for c := range containers(s) {
		if c.Name == name {
			found = c
		}
	}
	return found
}

func validatePodIPs(n, o *corev1.Pod, path *field.Path) field.ErrorList {
	ips := func(p *corev1.Pod) (out []string) {
		for _, ip := range p.Status.PodIPs {
			out = append(out, ip.IP)
		}
		return out
	}
	return validateAddresses(ips(n), ips(o), path)
}

func validateHostIPs(n, o *corev1.Pod, path *field.Path) field.ErrorList {
	ips := func(p *corev1.Pod) (out []string) {
		for _, ip := range p.Status.HostIPs {
			out = append(out, ip.IP)
		}
		return out
	}
	var errs field.ErrorList
	if all := ips(n); len(all) > 0 && all[0] != n.Status.HostIP {
		errs = append(errs, field.Invalid(path.Index(0).Child("ip"), all[0], "must be equal to `hostIP`"))
	}
	return append(errs, validateAddresses(ips(n), ips(o), path)...)
}

// validateAddresses judges addresses of which there may be one of each family; those that old has may be kept.
func validateAddresses(ips, old []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	families, unreadable := map[bool]bool{}, false
	for i, ip := range ips {
		errs = append(errs, validateIP(ip, path.Index(i), old)...)
		if parsed := netutils.ParseIPSloppy(ip); parsed == nil {
			unreadable = true
		} else {
			families[netutils.IsIPv6(parsed)] = true
		}
	}
	if len(ips) < 2 {
		return errs
	}
	if unreadable {
		errs = append(errs, field.InternalError(path, errors.New("the families of the addresses can't be told")))
	}
	if unreadable || len(families) < 2 || len(ips) > 2 {
		errs = append(errs, field.Invalid(path, ips, "may specify no more than one IP for each IP family"))
	}
	return errs
}

func validateContainerStatuses(p *corev1.Pod) field.ErrorList {
	errs := validateStatusList(p, p.Status.ContainerStatuses, p.Spec.Containers, status.Child("containerStatuses"))
	errs = append(errs, validateStatusList(p, p.Status.InitContainerStatuses, p.Spec.InitContainers, status.Child("initContainerStatuses"))...)
	path := status.Child("ephemeralContainerStatuses")
	for i, s := range p.Status.EphemeralContainerStatuses {
		errs = append(errs, validateStatusUser(s.User, p.Spec.OS, path.Index(i).Child("user", "linux"))...)
		if len(s.AllocatedResourcesStatus) > 0 {
			errs = append(errs, field.Forbidden(path.Index(i).Child("allocatedResourcesStatus"), "must not be specified in container status"))
		}
	}
	return errs
}

func validateStatusList(p *corev1.Pod, list []corev1.ContainerStatus, of []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range list {
		errs = append(errs, validateStatusUser(s.User, p.Spec.OS, path.Index(i).Child("user", "linux"))...)
		var c *corev1.Container
		if j := slices.IndexFunc(of, func(c corev1.Container) bool { return c.Name == s.Name }); j >= 0 {
			c = &of[j]
		}
		for j, r := range s.AllocatedResourcesStatus {
			errs = append(errs, validateHealth(r, c, path.Index(i).Child("allocatedResourcesStatus").Index(j))...)
		}
	}
	return errs
}

func validateStatusUser(u *corev1.ContainerUser, os *corev1.PodOS, at *field.Path) field.ErrorList {
	if u == nil || u.Linux == nil {
		return nil
	}
	if os != nil && os.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(at, "cannot be set for a windows pod")}
	}
	if os != nil && os.Name != corev1.Linux {
		return nil
	}
	errs := invalid(at.Child("uid"), u.Linux.UID, utilvalidation.IsValidUserID(u.Linux.UID)...)
	errs = append(errs, invalid(at.Child("gid"), u.Linux.GID, utilvalidation.IsValidGroupID(u.Linux.GID)...)...)
	for i, g := range u.Linux.SupplementalGroups {
		errs = append(errs, invalid(at.Child("supplementalGroups").Index(i), g, utilvalidation.IsValidGroupID(g)...)...)
	}
	return errs
}

// validateHealth judges how the devices of a container are (KEP-4680). c is nil if there is no such container.
func validateHealth(r corev1.ResourceStatus, c *corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c != nil && !allocated(r.Name, c) {
		errs = append(errs, field.Invalid(at.Child("name"), r.Name, "must match one of the container's resource requests, or of its claims in the form 'claim:<claimName>/<request>', 'claim:<claimName>' if the request is empty"))
	}
	ids := distinct{}
	for k, d := range r.Resources {
		at := at.Child("resources").Index(k)
		switch d.Health {
		case corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown:
		default:
			errs = append(errs, notOneOf(at.Child("health"), d.Health, corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown))
		}
		if m := d.Message; m != nil && *m == "" {
			errs = append(errs, field.Required(at.Child("message"), "must be non-empty if specified"))
		} else if m != nil && len(*m) > corev1.ResourceHealthMessageMaxLength {
			errs = append(errs, field.TooLong(at.Child("message"), *m, corev1.ResourceHealthMessageMaxLength))
		}
		errs = append(errs, ids.check(string(d.ResourceID), at.Child("resourceID"))...)
	}
	return errs
}

func allocated(name corev1.ResourceName, c *corev1.Container) bool {
	if !strings.HasPrefix(string(name), "claim:") {
		_, ok := c.Resources.Requests[name]
		return ok
	}
	return slices.ContainsFunc(c.Resources.Claims, func(claim corev1.ResourceClaim) bool {
		id := "claim:" + claim.Name
		if claim.Request != "" {
			id = fmt.Sprintf("%s/%s", id, claim.Request)
		}
		return id == string(name)
	})
}
