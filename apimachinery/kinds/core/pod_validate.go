package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

// ValidatePodTemplate judges a pod template; path, which must not be nil, is where it stands. The label selector and
// the restart policy are its owner's business.
func ValidatePodTemplate(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	return located(path, func(at *place) field.ErrorList { return validateTemplate(t, at) })
}

func validateTemplate(t *corev1.PodTemplateSpec, at *place) field.ErrorList {
	errs := validateLabels(t.Labels, at.child("labels"))
	errs = append(errs, validation.ValidateAnnotations(t.Annotations, at.child("annotations").path())...)
	errs = append(errs, validatePodAnnotations(t.Annotations, &t.Spec, at.child("annotations"))...)
	spec := at.child("spec")
	errs = append(errs, validatePodSpec(&t.Spec, nil, spec)...)
	errs = append(errs, validateProfilesAgree(t.Annotations, &t.Spec, spec)...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.child("ephemeralContainers").path(), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// ValidatePod judges a pod with its defaults filled in, but for what it may become by an update.
func ValidatePod(p *corev1.Pod) field.ErrorList {
	errs := ValidateFinalizers(p)
	errs = append(errs, located(annotationsPath, func(at *place) field.ErrorList { return validatePodAnnotations(p.Annotations, &p.Spec, at) })...)
	return append(errs, located(spec, func(at *place) field.ErrorList { return validateSpecOfPod(p, at) })...)
}

// validateSpecOfPod judges what is not asked of templates too.
func validateSpecOfPod(p *corev1.Pod, at *place) field.ErrorList {
	errs := validatePodSpec(&p.Spec, &p.ObjectMeta, at)
	for i, v := range p.Spec.Volumes {
		if v.Projected == nil || p.Spec.ServiceAccountName != "" {
			continue
		}
		for j, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				errs = append(errs, field.Forbidden(at.child("volumes").index(i).child("projected").child("sources").index(j).child("serviceAccountToken").path(),
					"must not be specified when serviceAccountName is not set"))
			}
		}
	}
	errs = append(errs, validateImages(p.Spec.Containers, at.child("containers"))...)
	return append(errs, validateImages(p.Spec.InitContainers, at.child("initContainers"))...)
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
	return append(errs, located(spec, func(at *place) field.ErrorList { return validateProfilesAgree(p.Annotations, &p.Spec, at) })...)
}

// validateImages judges what templates are spared.
func validateImages(containers []corev1.Container, path *place) field.ErrorList {
	var errs field.ErrorList
	for i := range containers {
		errs = append(errs, validateImage(&containers[i], path.index(i))...)
	}
	return errs
}

func validateImage(c *corev1.Container, at *place) field.ErrorList {
	if strings.TrimSpace(c.Image) != c.Image {
		return field.ErrorList{field.Invalid(at.child("image").path(), c.Image, "must not have leading or trailing whitespace")}
	}
	return nil
}

// validatePodSpec judges a pod's spec, with its defaults filled in; meta is the pod's, nil for a template.
func validatePodSpec(s *corev1.PodSpec, meta *metav1.ObjectMeta, path *place) field.ErrorList {
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
	path *place
	errs field.ErrorList

	// known are the volumes that are sound, by name: the others can't be mounted.
	known map[string]*corev1.Volume
}

func (v *podValidator) add(errs ...*field.Error) {
	if len(errs) > 0 {
		v.errs = append(v.errs, errs...)
	}
}

func (v *podValidator) invalid(path *place, value any, messages ...string) {
	v.add(invalid(path.path(), value, messages...)...)
}

// form judges a text by one of the forms.
func (v *podValidator) form(at *place, text string, judge func(string) []string) {
	v.add(invalid(at.path(), text, judge(text)...)...)
}

func (v *podValidator) required(value string, at *place) {
	if value == "" {
		v.add(field.Required(at.path(), ""))
	}
}

func (v *podValidator) notNegative(n int64, at *place) {
	if n < 0 {
		v.add(validation.ValidateNonnegativeField(n, at.path())...)
	}
}

// visit calls f with every container and its path.
func (v *podValidator) visit(f func(c *corev1.Container, at *place)) {
	visitContainers(v.spec, v.path, f)
}

func visitContainers(s *corev1.PodSpec, path *place, f func(c *corev1.Container, at *place)) {
	for i := range s.InitContainers {
		f(&s.InitContainers[i], path.child("initContainers").index(i))
	}
	for i := range s.Containers {
		f(&s.Containers[i], path.child("containers").index(i))
	}
	for i := range s.EphemeralContainers {
		f((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), path.child("ephemeralContainers").index(i))
	}
}

func (v *podValidator) policies() {
	s := v.spec
	v.add(oneOf(v.path.child("restartPolicy").path(), s.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > maxDeadline) {
		v.invalid(v.path.child("activeDeadlineSeconds"), *d, utilvalidation.InclusiveRangeError(1, maxDeadline))
	}
	if s.TerminationGracePeriodSeconds == nil {
		v.add(field.Required(v.path.child("terminationGracePeriodSeconds").path(), ""))
	}
	if p := s.PreemptionPolicy; p != nil {
		v.add(oneOf(v.path.child("preemptionPolicy").path(), *p, corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	for i, g := range s.ReadinessGates {
		v.add(validateQualifiedName(string(g.ConditionType), v.path.child("readinessGates").index(i).child("conditionType").path())...)
	}
	if s.Overhead != nil {
		v.requirements(&corev1.ResourceRequirements{Limits: s.Overhead}, v.path.child("overhead"), validateContainerResource)
	}
}

const maxDeadline = 1<<31 - 1

func (v *podValidator) identity() {
	s := v.spec
	name := func(field, value string, judge func(string) []string) {
		if value != "" {
			v.form(v.path.child(field), value, judge)
		}
	}
	name("nodeName", s.NodeName, forms.Subdomain)
	name("serviceAccountName", s.ServiceAccountName, forms.Subdomain)
	name("priorityClassName", s.PriorityClassName, forms.Subdomain)
	name("subdomain", s.Subdomain, forms.Label)
	name("hostname", s.Hostname, forms.Label)
	if c := s.RuntimeClassName; c != nil {
		v.form(v.path.child("runtimeClassName"), *c, forms.Subdomain)
	}
	v.hostnameOverride()
	if g := s.SchedulingGroup; g != nil {
		v.schedulingGroup(g, v.path.child("schedulingGroup"))
	}
}

func (v *podValidator) hostnameOverride() {
	name, at := v.spec.HostnameOverride, v.path.child("hostnameOverride")
	if name == nil {
		return
	}
	if fqdn := v.spec.SetHostnameAsFQDN; fqdn != nil && *fqdn {
		v.add(field.Forbidden(at.path(), "may not be specified when setHostnameAsFQDN is true"))
	}
	if v.spec.HostNetwork {
		v.add(field.Forbidden(at.path(), "may not be specified when hostNetwork is true"))
	}
	if len(*name) > 64 {
		v.add(field.TooLong(at.path(), "", 64))
	}
	v.form(at, *name, forms.Subdomain)
}

func (v *podValidator) schedulingGroup(g *corev1.PodSchedulingGroup, at *place) {
	if g.PodGroupName == nil {
		v.invalid(at.child("podGroupName"), g.PodGroupName, "must specify one of: `podGroupName`")
		return
	}
	v.form(at.child("podGroupName"), *g.PodGroupName, forms.Subdomain)
}

func (v *podValidator) network() {
	s := v.spec
	v.add(oneOf(v.path.child("dnsPolicy").path(), s.DNSPolicy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	v.dnsConfig()
	for i, a := range s.HostAliases {
		at := v.path.child("hostAliases").index(i)
		v.add(validateIP(a.IP, at.child("ip").path(), nil)...)
		for j, h := range a.Hostnames {
			v.form(at.child("hostnames").index(j), h, forms.Subdomain)
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
				v.invalid(v.path.child("containers").index(i).child("ports").index(j).child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

func validateIP(ip string, path *field.Path, old []string) field.ErrorList {
	return utilvalidation.IsValidIPForLegacyField(path, ip, true, old)
}

func (v *podValidator) dnsConfig() {
	c, path := v.spec.DNSConfig, v.path.child("dnsConfig")
	if v.spec.DNSPolicy == corev1.DNSNone {
		if c == nil {
			v.add(field.Required(path.path(), fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone)))
			return
		}
		if len(c.Nameservers) == 0 {
			v.add(field.Required(path.child("nameservers").path(), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone)))
			return
		}
	}
	if c == nil {
		return
	}
	const nameservers, searches, characters = 3, 32, 2048
	if len(c.Nameservers) > nameservers {
		v.invalid(path.child("nameservers"), c.Nameservers, fmt.Sprintf("must not have more than %d nameservers", nameservers))
	}
	for i, s := range c.Nameservers {
		v.add(validateIP(s, path.child("nameservers").index(i).path(), nil)...)
	}
	if len(c.Searches) > searches {
		v.invalid(path.child("searches"), c.Searches, fmt.Sprintf("must not have more than %d search paths", searches))
	}
	if len(strings.Join(c.Searches, " ")) > characters {
		v.invalid(path.child("searches"), c.Searches, fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", characters))
	}
	for i, s := range c.Searches {
		if s != "." {
			s = strings.TrimSuffix(s, ".")
			v.form(path.child("searches").index(i), s, utilvalidation.IsDNS1123SubdomainWithUnderscore)
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			v.add(field.Required(path.child("options").index(i).path(), "must not be empty"))
		}
	}
}
