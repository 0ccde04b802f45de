package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidatePodTemplate judges a pod template; path is where it stands. The label selector and the restart policy
// are its owner's business.
func ValidatePodTemplate(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabels(t.Labels, path.Child("labels"))
	annotations := path.Child("annotations")
	errs = append(errs, validation.ValidateAnnotations(t.Annotations, annotations)...)
	errs = append(errs, validatePodAnnotations(t.Annotations, &t.Spec, annotations)...)
	spec := path.Child("spec")
	errs = append(errs, validatePodSpec(&t.Spec, nil, spec)...)
	errs = append(errs, validateProfilesAgree(t.Annotations, &t.Spec, spec)...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// ValidatePod judges a pod with its defaults filled in, but for what it may become by an update.
func ValidatePod(p *corev1.Pod) field.ErrorList {
	errs := ValidateFinalizers(p)
	errs = append(errs, validatePodAnnotations(p.Annotations, &p.Spec, field.NewPath("metadata", "annotations"))...)
	errs = append(errs, validatePodSpec(&p.Spec, &p.ObjectMeta, spec)...)
	for i, v := range p.Spec.Volumes {
		if v.Projected == nil || p.Spec.ServiceAccountName != "" {
			continue
		}
		for j, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				errs = append(errs, field.Forbidden(spec.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
					"must not be specified when serviceAccountName is not set"))
			}
		}
	}
	errs = append(errs, validateImages(p.Spec.Containers, spec.Child("containers"))...)
	return append(errs, validateImages(p.Spec.InitContainers, spec.Child("initContainers"))...)
}

// validateNewPod judges what only a new pod must fulfil.
func validateNewPod(p *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return append(errs, validateProfilesAgree(p.Annotations, &p.Spec, spec)...)
}

// validateImages judges what templates are spared.
func validateImages(containers []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range containers {
		errs = append(errs, validateImage(&containers[i], path.Index(i))...)
	}
	return errs
}

func validateImage(c *corev1.Container, at *field.Path) field.ErrorList {
	if strings.TrimSpace(c.Image) != c.Image {
		return field.ErrorList{field.Invalid(at.Child("image"), c.Image, "must not have leading or trailing whitespace")}
	}
	return nil
}

// validatePodSpec judges a pod's spec, with its defaults filled in; meta is the pod's, nil for a template.
func validatePodSpec(s *corev1.PodSpec, meta *metav1.ObjectMeta, path *field.Path) field.ErrorList {
	v := &podValidator{spec: s, meta: meta, path: path, known: map[string]*corev1.Volume{}}
	v.volumes()
	v.claims()
	v.containers()
	v.podResources()
	v.policies()
	v.identity()
	v.scheduling()
	v.network()
	v.security()
	v.system()
	v.fileKeys()
	return v.errs
}

// podValidator collects what is wrong with one spec.
type podValidator struct {
	spec *corev1.PodSpec
	meta *metav1.ObjectMeta // nil: the spec is a template's
	path *field.Path
	errs field.ErrorList

	// known are the volumes that are sound, by name: the others can't be mounted.
	known map[string]*corev1.Volume
}

func (v *podValidator) add(errs ...*field.Error) { v.errs = append(v.errs, errs...) }

func (v *podValidator) invalid(path *field.Path, value any, messages ...string) {
	v.add(invalid(path, value, messages...)...)
}

func (v *podValidator) required(value string, at *field.Path) {
	if value == "" {
		v.add(field.Required(at, ""))
	}
}

func (v *podValidator) notNegative(n int64, at *field.Path) {
	v.add(validation.ValidateNonnegativeField(n, at)...)
}

// visit calls f with every container and its path.
func (v *podValidator) visit(f func(c *corev1.Container, at *field.Path)) {
	visitContainers(v.spec, v.path, f)
}

func visitContainers(s *corev1.PodSpec, path *field.Path, f func(c *corev1.Container, at *field.Path)) {
	for i := range s.InitContainers {
		f(&s.InitContainers[i], path.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		f(&s.Containers[i], path.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		f((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), path.Child("ephemeralContainers").Index(i))
	}
}

func (v *podValidator) policies() {
	s := v.spec
	v.add(oneOf(v.path.Child("restartPolicy"), s.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > maxDeadline) {
		v.invalid(v.path.Child("activeDeadlineSeconds"), *d, utilvalidation.InclusiveRangeError(1, maxDeadline))
	}
	if s.TerminationGracePeriodSeconds == nil {
		v.add(field.Required(v.path.Child("terminationGracePeriodSeconds"), ""))
	}
	if p := s.PreemptionPolicy; p != nil {
		v.add(oneOf(v.path.Child("preemptionPolicy"), *p, corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	for i, g := range s.ReadinessGates {
		v.add(validateQualifiedName(string(g.ConditionType), v.path.Child("readinessGates").Index(i).Child("conditionType"))...)
	}
	if s.Overhead != nil {
		v.requirements(&corev1.ResourceRequirements{Limits: s.Overhead}, v.path.Child("overhead"), validateContainerResource)
	}
}

const maxDeadline = 1<<31 - 1

func (v *podValidator) identity() {
	s := v.spec
	name := func(field, value string, check func(string, bool) []string) {
		if value != "" {
			v.invalid(v.path.Child(field), value, check(value, false)...)
		}
	}
	name("nodeName", s.NodeName, validation.NameIsDNSSubdomain)
	name("serviceAccountName", s.ServiceAccountName, validation.ValidateServiceAccountName)
	name("priorityClassName", s.PriorityClassName, validation.NameIsDNSSubdomain)
	name("subdomain", s.Subdomain, validation.NameIsDNSLabel)
	name("hostname", s.Hostname, validation.NameIsDNSLabel)
	if c := s.RuntimeClassName; c != nil {
		v.invalid(v.path.Child("runtimeClassName"), *c, validation.NameIsDNSSubdomain(*c, false)...)
	}
	v.hostnameOverride()
	if g := s.SchedulingGroup; g != nil {
		v.schedulingGroup(g, v.path.Child("schedulingGroup"))
	}
}

func (v *podValidator) hostnameOverride() {
	name, at := v.spec.HostnameOverride, v.path.Child("hostnameOverride")
	if name == nil {
		return
	}
	if fqdn := v.spec.SetHostnameAsFQDN; fqdn != nil && *fqdn {
		v.add(field.Forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
	}
	if v.spec.HostNetwork {
		v.add(field.Forbidden(at, "may not be specified when hostNetwork is true"))
	}
	if len(*name) > 64 {
		v.add(field.TooLong(at, "", 64))
	}
	v.invalid(at, *name, utilvalidation.IsDNS1123Subdomain(*name)...)
}

func (v *podValidator) schedulingGroup(g *corev1.PodSchedulingGroup, at *field.Path) {
	if g.PodGroupName == nil {
		v.invalid(at.Child("podGroupName"), g.PodGroupName, "must specify one of: `podGroupName`")
		return
	}
	v.invalid(at.Child("podGroupName"), *g.PodGroupName, validation.NameIsDNSSubdomain(*g.PodGroupName, false)...)
}

func (v *podValidator) network() {
	s := v.spec
	v.add(oneOf(v.path.Child("dnsPolicy"), s.DNSPolicy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	v.dnsConfig()
	for i, a := range s.HostAliases {
		at := v.path.Child("hostAliases").Index(i)
		v.add(validateIP(a.IP, at.Child("ip"), nil)...)
		for j, h := range a.Hostnames {
			v.invalid(at.Child("hostnames").Index(j), h, utilvalidation.IsDNS1123Subdomain(h)...)
		}
	}
	if s.HostNetwork {
		v.hostNetworkPorts()
	}
}

// hostNetworkPorts sees to it that ports of the host's network are what they seem; a template may leave them out.
func (v *podValidator) hostNetworkPorts() {
	for i, c := range v.spec.Containers {
		for j, p := range c.Ports {
			if p.HostPort != p.ContainerPort && (v.meta != nil || p.HostPort != 0) {
				v.invalid(v.path.Child("containers").Index(i).Child("ports").Index(j).Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

func validateIP(ip string, path *field.Path, old []string) field.ErrorList {
	return utilvalidation.IsValidIPForLegacyField(path, ip, true, old)
}

func (v *podValidator) dnsConfig() {
	c, path := v.spec.DNSConfig, v.path.Child("dnsConfig")
	if v.spec.DNSPolicy == corev1.DNSNone {
		if c == nil {
			v.add(field.Required(path, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone)))
			return
		}
		if len(c.Nameservers) == 0 {
			v.add(field.Required(path.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone)))
			return
		}
	}
	if c == nil {
		return
	}
	const nameservers, searches, characters = 3, 32, 2048
	if len(c.Nameservers) > nameservers {
		v.invalid(path.Child("nameservers"), c.Nameservers, fmt.Sprintf("must not have more than %d nameservers", nameservers))
	}
	for i, s := range c.Nameservers {
		v.add(validateIP(s, path.Child("nameservers").Index(i), nil)...)
	}
	if len(c.Searches) > searches {
		v.invalid(path.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %d search paths", searches))
	}
	if len(strings.Join(c.Searches, " ")) > characters {
		v.invalid(path.Child("searches"), c.Searches, fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", characters))
	}
	for i, s := range c.Searches {
		if s != "." {
			s = strings.TrimSuffix(s, ".")
			v.invalid(path.Child("searches").Index(i), s, utilvalidation.IsDNS1123SubdomainWithUnderscore(s)...)
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			v.add(field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
}
