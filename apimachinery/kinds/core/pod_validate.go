package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidatePodTemplate judges a pod template; path is where it stands. The label selector and the restart policy
// are its owner's business.
func ValidatePodTemplate(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	meta := path.Child("metadata")
	errs := metav1validation.ValidateLabels(t.Labels, meta.Child("labels"))
	errs = append(errs, validation.ValidateAnnotations(t.Annotations, meta.Child("annotations"))...)
	errs = append(errs, ValidatePodSpec(&t.Spec, path.Child("spec"), t.Annotations)...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// ValidatePodSpec judges a pod's spec, with its defaults filled in; annotations are the pod's.
func ValidatePodSpec(s *corev1.PodSpec, path *field.Path, annotations map[string]string) field.ErrorList {
	v := &podValidator{spec: s, path: path, annotations: annotations}
	v.volumes()
	v.containers()
	v.policies()
	v.identity()
	v.scheduling()
	v.network()
	v.security()
	return v.errs
}

// podValidator collects what is wrong with one spec.
type podValidator struct {
	spec        *corev1.PodSpec
	path        *field.Path
	annotations map[string]string
	errs        field.ErrorList

	volumeNames map[string]corev1.Volume
}

func (v *podValidator) add(errs ...*field.Error) { v.errs = append(v.errs, errs...) }

func (v *podValidator) invalid(path *field.Path, value any, messages ...string) {
	for _, msg := range messages {
		v.add(field.Invalid(path, value, msg))
	}
}

func (v *podValidator) policies() {
	s := v.spec
	switch s.RestartPolicy {
	case corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever:
	case "":
		v.add(field.Required(v.path.Child("restartPolicy"), ""))
	default:
		v.add(notOneOf(v.path.Child("restartPolicy"), s.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > 1<<31-1) {
		v.invalid(v.path.Child("activeDeadlineSeconds"), *d, utilvalidation.InclusiveRangeError(1, 1<<31-1))
	}
	if g := s.TerminationGracePeriodSeconds; g == nil {
		v.add(field.Required(v.path.Child("terminationGracePeriodSeconds"), ""))
	} else if *g < 0 {
		v.invalid(v.path.Child("terminationGracePeriodSeconds"), *g, "must be greater than or equal to 0")
	}
	if p := s.PreemptionPolicy; p != nil && *p != corev1.PreemptLowerPriority && *p != corev1.PreemptNever {
		v.add(notOneOf(v.path.Child("preemptionPolicy"), *p, corev1.PreemptLowerPriority, corev1.PreemptNever))
	}
	for i, g := range s.ReadinessGates {
		v.add(validateQualifiedName(string(g.ConditionType), v.path.Child("readinessGates").Index(i).Child("conditionType"))...)
	}
	v.add(validateResourceList(s.Overhead, v.path.Child("overhead"))...)
	v.podResources()
}

func (v *podValidator) podResources() {
	r := v.spec.Resources
	if r == nil {
		return
	}
	path := v.path.Child("resources")
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"limits", r.Limits}, {"requests", r.Requests}} {
		for name := range list.of {
			if !podLevel(name) {
				v.add(notOneOf(path.Child(list.name), name, corev1.ResourceCPU, corev1.ResourceMemory))
			}
		}
	}
	v.add(validateRequirements(r, path, nil, "pod")...)
	if len(r.Claims) > 0 {
		v.add(field.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	for name, sum := range containerRequests(v.spec) {
		if q, ok := r.Requests[name]; ok && podLevel(name) && q.Cmp(sum) < 0 {
			v.invalid(path.Child("requests").Key(string(name)), q.String(), "must be greater than or equal to aggregate container requests of "+sum.String())
		}
	}
}

func (v *podValidator) identity() {
	s := v.spec
	name := func(path *field.Path, value string, check func(string, bool) []string) {
		if value != "" {
			v.invalid(path, value, check(value, false)...)
		}
	}
	name(v.path.Child("nodeName"), s.NodeName, validation.NameIsDNSSubdomain)
	name(v.path.Child("serviceAccountName"), s.ServiceAccountName, validation.ValidateServiceAccountName)
	name(v.path.Child("priorityClassName"), s.PriorityClassName, validation.NameIsDNSSubdomain)
	name(v.path.Child("subdomain"), s.Subdomain, validation.NameIsDNSLabel)
	name(v.path.Child("hostname"), s.Hostname, validation.NameIsDNSLabel)
	if s.RuntimeClassName != nil {
		name(v.path.Child("runtimeClassName"), *s.RuntimeClassName, validation.NameIsDNSSubdomain)
	}
	if s.SchedulerName != "" {
		name(v.path.Child("schedulerName"), s.SchedulerName, validation.NameIsDNSSubdomain)
	}
	if h := s.HostnameOverride; h != nil {
		v.invalid(v.path.Child("hostnameOverride"), *h, utilvalidation.IsDNS1123Subdomain(*h)...)
		if len(*h) > 64 {
			v.add(field.TooLong(v.path.Child("hostnameOverride"), *h, 64))
		}
	}
	for i, ref := range s.ImagePullSecrets {
		if ref.Name == "" {
			v.add(field.Required(v.path.Child("imagePullSecrets").Index(i).Child("name"), ""))
		}
	}
	if s.OS != nil && s.OS.Name != corev1.Linux && s.OS.Name != corev1.Windows {
		v.add(notOneOf(v.path.Child("os", "name"), s.OS.Name, corev1.Linux, corev1.Windows))
	}
}

func (v *podValidator) network() {
	s := v.spec
	switch s.DNSPolicy {
	case corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone:
	case "":
		v.add(field.Required(v.path.Child("dnsPolicy"), ""))
	default:
		v.add(notOneOf(v.path.Child("dnsPolicy"), s.DNSPolicy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone))
	}
	v.dnsConfig()
	for i, a := range s.HostAliases {
		at := v.path.Child("hostAliases").Index(i)
		if _, err := netip.ParseAddr(a.IP); err != nil {
			v.invalid(at.Child("ip"), a.IP, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
		}
		for j, h := range a.Hostnames {
			v.invalid(at.Child("hostnames").Index(j), h, utilvalidation.IsDNS1123Subdomain(h)...)
		}
	}
}

func (v *podValidator) dnsConfig() {
	c, path := v.spec.DNSConfig, v.path.Child("dnsConfig")
	if v.spec.DNSPolicy == corev1.DNSNone && (c == nil || len(c.Nameservers) == 0) {
		v.add(field.Required(path.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone)))
	}
	if c == nil {
		return
	}
	const nameservers, searches, characters = 3, 32, 2048
	if len(c.Nameservers) > nameservers {
		v.invalid(path.Child("nameservers"), c.Nameservers, fmt.Sprintf("must not have more than %d nameservers", nameservers))
	}
	for i, s := range c.Nameservers {
		if _, err := netip.ParseAddr(s); err != nil {
			v.invalid(path.Child("nameservers").Index(i), s, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
		}
	}
	if len(c.Searches) > searches {
		v.invalid(path.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %d search paths", searches))
	}
	if len(strings.Join(c.Searches, " ")) > characters {
		v.invalid(path.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", characters))
	}
	for i, s := range c.Searches {
		if s != "." {
			v.invalid(path.Child("searches").Index(i), s, utilvalidation.IsDNS1123SubdomainWithUnderscore(strings.TrimSuffix(s, "."))...)
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			v.add(field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
}

func validateQualifiedName(name string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range utilvalidation.IsQualifiedName(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	return errs
}

func validateLabelValue(value string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range utilvalidation.IsValidLabelValue(value) {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

// distinct reports the second and later uses of a name.
type distinct map[string]bool

func (d distinct) check(name string, path *field.Path) field.ErrorList {
	if d[name] {
		return field.ErrorList{field.Duplicate(path, name)}
	}
	d[name] = true
	return nil
}

func sortedKeys[V any](m map[corev1.ResourceName]V) []corev1.ResourceName {
	keys := make([]corev1.ResourceName, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
