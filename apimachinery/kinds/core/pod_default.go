package core

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// DefaultPod fills in what a pod leaves out: what a template gets, and what only a pod gets (requests follow
// limits, service links, host ports of the host network).
func DefaultPod(p *corev1.Pod) {
	DefaultPodSpec(&p.Spec)
	s := &p.Spec
	for c := range containers(s) {
		requestsFollowLimits(&c.Resources)
	}
	if s.Resources != nil {
		defaultPodResources(s)
	}
	defaultTo(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if s.HostNetwork {
		for c := range containers(s) {
			for i := range c.Ports {
				if c.Ports[i].HostPort == 0 {
					c.Ports[i].HostPort = c.Ports[i].ContainerPort
				}
			}
		}
	}
}

// DefaultPodTemplate fills in what a pod template leaves out.
func DefaultPodTemplate(t *corev1.PodTemplateSpec) { DefaultPodSpec(&t.Spec) }

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
		c := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		defaultContainer(&c)
		s.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
	roundResources(s.Overhead)
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
	set(&c.ImagePullPolicy, pullPolicy(c.Image))
	set(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	set(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		set(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaultFieldRef(from.FieldRef)
		}
	}
	roundResources(c.Resources.Limits)
	roundResources(c.Resources.Requests)
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

// pullPolicy is Always for the tag latest, or none, and IfNotPresent for any other tag or a digest.
func pullPolicy(image string) corev1.PullPolicy {
	if strings.Contains(image, "@") {
		return corev1.PullIfNotPresent
	}
	name := image[strings.LastIndex(image, "/")+1:]
	if _, tag, ok := strings.Cut(name, ":"); ok && tag != "latest" {
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
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

func defaultVolume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	const mode = int32(0o644)
	switch {
	case v.Secret != nil:
		defaultTo(&v.Secret.DefaultMode, mode)
	case v.ConfigMap != nil:
		defaultTo(&v.ConfigMap.DefaultMode, mode)
	case v.DownwardAPI != nil:
		defaultTo(&v.DownwardAPI.DefaultMode, mode)
		defaultDownward(v.DownwardAPI.Items)
	case v.Projected != nil:
		defaultTo(&v.Projected.DefaultMode, mode)
		defaultProjection(v.Projected.Sources)
	case v.HostPath != nil:
		defaultTo(&v.HostPath.Type, corev1.HostPathUnset)
	case v.ISCSI != nil:
		set(&v.ISCSI.ISCSIInterface, "default")
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		defaultTo(&v.Ephemeral.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	}
}

func defaultProjection(sources []corev1.VolumeProjection) {
	for i := range sources {
		if t := sources[i].ServiceAccountToken; t != nil {
			defaultTo(&t.ExpirationSeconds, 60*60)
		}
		if d := sources[i].DownwardAPI; d != nil {
			defaultDownward(d.Items)
		}
	}
}

func defaultDownward(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}

// roundResources rounds quantities up to thousandths, the finest that Kubernetes keeps.
func roundResources(list corev1.ResourceList) {
	for name, q := range list {
		q.RoundUp(resource.Milli)
		list[name] = q
	}
}

func requestsFollowLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		if _, ok := r.Requests[name]; !ok {
			r.Requests[name] = limit.DeepCopy()
		}
	}
}

// defaultPodResources fills in pod-level requests (KEP-2837): what the containers request together, else the
// pod's own limit.
func defaultPodResources(s *corev1.PodSpec) {
	r := s.Resources
	if len(r.Limits) == 0 && len(r.Requests) == 0 {
		return
	}
	requests := maps.Clone(r.Requests)
	if requests == nil {
		requests = corev1.ResourceList{}
	}
	for name, q := range containerRequests(s) {
		if _, ok := requests[name]; !ok && podLevel(name) {
			requests[name] = q
		}
	}
	for name, limit := range r.Limits {
		if _, ok := requests[name]; !ok && podLevel(name) {
			requests[name] = limit.DeepCopy()
		}
	}
	r.Requests = requests
}

// podLevel says whether a resource may be asked for by the pod as a whole.
func podLevel(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// containerRequests is what the containers ask for together: the sum of those that run at once, or what the
// hungriest init container needs, whichever is more (KEP-753).
func containerRequests(s *corev1.PodSpec) corev1.ResourceList {
	sum, sidecars, most := corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	for _, c := range s.Containers {
		add(sum, c.Resources.Requests)
	}
	for _, c := range s.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(sum, c.Resources.Requests)
			add(sidecars, c.Resources.Requests)
			atLeast(most, sidecars)
			continue
		}
		now := maps.Clone(sidecars)
		add(now, c.Resources.Requests)
		atLeast(most, now)
	}
	atLeast(sum, most)
	return sum
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
