package core

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// DefaultPod fills in what a pod leaves out: what a template gets, and what only a pod gets (requests follow
// limits, pod-level resources, service links, host ports of the host network).
func DefaultPod(p *corev1.Pod) {
	s := &p.Spec
	for c := range containers(s) {
		requestsFollowLimits(&c.Resources)
	}
	defaultPodLimits(s)
	defaultPodRequests(s)
	defaultTo(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if s.HostNetwork {
		defaultHostPorts(s)
	}
	DefaultPodSpec(s)
	if g := s.TerminationGracePeriodSeconds; *g < 0 {
		least := int64(1)
		s.TerminationGracePeriodSeconds = &least
	}
	p.Annotations = withoutInitAnnotations(p.Annotations)
	defaultPodStatus(&p.Status)
}

func defaultHostPorts(s *corev1.PodSpec) {
	for c := range containers(s) {
		for i := range c.Ports {
			set(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
		}
	}
}

// defaultPodStatus lets the list of addresses follow the older single one, and rounds what was allocated.
func defaultPodStatus(s *corev1.PodStatus) {
	switch {
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	case len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	}
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			roundResources(list[i].AllocatedResources)
			roundRequirements(list[i].Resources)
		}
	}
	roundResources(s.AllocatedResources)
	roundRequirements(s.Resources)
}

// DefaultPodTemplate fills in what a pod template leaves out.
func DefaultPodTemplate(t *corev1.PodTemplateSpec) {
	t.Annotations = withoutInitAnnotations(t.Annotations)
	DefaultPodSpec(&t.Spec)
}

var initAnnotations = []string{
	"pod.alpha.kubernetes.io/init-containers", "pod.alpha.kubernetes.io/init-container-statuses",
	"pod.beta.kubernetes.io/init-containers", "pod.beta.kubernetes.io/init-container-statuses",
}

// withoutInitAnnotations leaves out the annotations that were init containers before they became fields.
func withoutInitAnnotations(annotations map[string]string) map[string]string {
	kept := annotations
	for _, key := range initAnnotations {
		if _, ok := kept[key]; ok {
			kept = maps.Clone(kept)
			delete(kept, key)
		}
	}
	return kept
}

// DefaultPodSpec fills in the defaults that pods and pod templates share.
func DefaultPodSpec(s *corev1.PodSpec) {
	set(&s.DNSPolicy, corev1.DNSClusterFirst)
	set(&s.RestartPolicy, corev1.RestartPolicyAlways)
	set(&s.SchedulerName, corev1.DefaultSchedulerName)
	defaultTo(&s.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	if s.SecurityContext == nil {
		s.SecurityContext = &corev1.PodSecurityContext{}
	}
	// The deprecated name of the field is accepted, and answered beside the new one.
	set(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
	for c := range containers(s) {
		defaultContainer(c)
	}
	for i := range s.EphemeralContainers {
		defaultContainer((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
	roundResources(s.Overhead)
	roundRequirements(s.Resources)
}

// containers yields the init containers, then the containers, to be changed in place.
func containers(s *corev1.PodSpec) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for i := range s.InitContainers {
			if !yield(&s.InitContainers[i]) {
				return
			}
		}
		for i := range s.Containers {
			if !yield(&s.Containers[i]) {
				return
			}
		}
	}
}

// set gives *p a value if it has none.
func set[T comparable](p *T, value T) {
	if *p == *new(T) {
		*p = value
	}
}

// defaultTo points *p at value if it points nowhere.
func defaultTo[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

func defaultContainer(c *corev1.Container) {
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = pullPolicy(c.Image)
	}
	set(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	set(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		set(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaultFieldRef(from.FieldRef)
			if from.FileKeyRef != nil {
				defaultTo(&from.FileKeyRef.Optional, false)
			}
		}
	}
	roundRequirements(&c.Resources)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	set(&p.TimeoutSeconds, 1)
	set(&p.PeriodSeconds, 10)
	set(&p.SuccessThreshold, 1)
	set(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		defaultTo(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(g *corev1.HTTPGetAction) {
	if g == nil {
		return
	}
	set(&g.Path, "/")
	set(&g.Scheme, corev1.URISchemeHTTP)
}

func defaultFieldRef(r *corev1.ObjectFieldSelector) {
	if r != nil {
		set(&r.APIVersion, "v1")
	}
}

// roundResources rounds quantities up to thousandths, the finest that Kubernetes keeps.
func roundResources(list corev1.ResourceList) {
	for name, q := range list {
		q.RoundUp(resource.Milli)
		list[name] = q
	}
}

func roundRequirements(r *corev1.ResourceRequirements) {
	if r != nil {
		roundResources(r.Limits)
		roundResources(r.Requests)
	}
}

func requestsFollowLimits(r *corev1.ResourceRequirements) {
	if r.Limits != nil && r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; !ok {
			r.Requests[name] = limit.DeepCopy()
		}
	}
}

// defaultPodLimits fills in the pod-level limits of huge pages (KEP-5394), which must be no less than what the
// containers may have together.
func defaultPodLimits(s *corev1.PodSpec) {
	r := s.Resources
	if r == nil || len(r.Limits) == 0 && len(r.Requests) == 0 {
		return
	}
	for name, q := range together(s, limitsOf) {
		_, asked := r.Requests[name]
		_, limited := r.Limits[name]
		if !hugePages(name) || asked || limited {
			continue
		}
		if r.Limits == nil {
			r.Limits = corev1.ResourceList{}
		}
		r.Limits[name] = q
	}
}

// defaultPodRequests fills in the pod-level requests of a pod with limits (KEP-2837): what the containers request
// together, else the pod's own limit.
func defaultPodRequests(s *corev1.PodSpec) {
	r := s.Resources
	if r == nil || len(r.Limits) == 0 {
		return
	}
	requests := maps.Clone(r.Requests)
	if requests == nil {
		requests = corev1.ResourceList{}
	}
	for name, q := range together(s, requestsOf) {
		if _, ok := requests[name]; !ok && podLevel(name) && !noOvercommit(name) {
			requests[name] = q
		}
	}
	for name, limit := range r.Limits {
		if _, ok := requests[name]; !ok && podLevel(name) {
			requests[name] = limit.DeepCopy()
		}
	}
	if len(requests) > 0 {
		r.Requests = requests
	}
}

// podLevel says whether a resource may be asked for by the pod as a whole.
func podLevel(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || hugePages(name)
}

func hugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func requestsOf(c *corev1.Container) corev1.ResourceList { return c.Resources.Requests }
func limitsOf(c *corev1.Container) corev1.ResourceList   { return c.Resources.Limits }

// together is what the containers ask for, or may have, as a pod: the sum of those that run at once, or what the
// hungriest init container needs, whichever is more (KEP-753).
func together(s *corev1.PodSpec, of func(*corev1.Container) corev1.ResourceList) corev1.ResourceList {
	sum, sidecars, most := corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	for i := range s.Containers {
		add(sum, of(&s.Containers[i]))
	}
	for i := range s.InitContainers {
		c := &s.InitContainers[i]
		if sidecar(c) {
			add(sum, of(c))
			add(sidecars, of(c))
			atLeast(most, sidecars)
			continue
		}
		now := maps.Clone(sidecars)
		add(now, of(c))
		atLeast(most, now)
	}
	atLeast(sum, most)
	return sum
}

// sidecar says whether an init container runs beside the containers (KEP-753).
func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func add(to, list corev1.ResourceList) {
	for name, q := range list {
		have := to[name].DeepCopy()
		have.Add(q)
		to[name] = have
	}
}

func atLeast(to, list corev1.ResourceList) {
	for name, q := range list {
		if have, ok := to[name]; !ok || q.Cmp(have) > 0 {
			to[name] = q.DeepCopy()
		}
	}
}
