package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *podValidator) containers() {
	at := v.path.Child("containers")
	if len(v.spec.Containers) == 0 {
		v.add(field.Required(at, ""))
	}
	names, hostPorts := distinct{}, distinct{}
	for i := range v.spec.Containers {
		c, at := &v.spec.Containers[i], at.Index(i)
		v.container(c, at)
		v.add(names.check(c.Name, at.Child("name"))...)
		v.running(c, at)
		v.restartPolicy(c, at)
		v.hostPorts(c, at, hostPorts)
	}
	at = v.path.Child("initContainers")
	for i := range v.spec.InitContainers {
		c, at := &v.spec.InitContainers[i], at.Index(i)
		v.container(c, at)
		if names[c.Name] || c.Name != "" {
			v.add(names.check(c.Name, at.Child("name"))...)
		}
		v.restartPolicy(c, at)
		v.hostPorts(c, at, distinct{}) // they run one by one
		v.initial(c, at)
	}
	v.ephemeral(names)
}

// container judges what holds for all containers.
func (v *podValidator) container(c *corev1.Container, at *field.Path) {
	v.required(c.Name, at.Child("name"))
	if c.Name != "" {
		v.invalid(at.Child("name"), c.Name, utilvalidation.IsDNS1123Label(c.Name)...)
	}
	v.required(c.Image, at.Child("image"))
	v.add(validatePullPolicy(c.ImagePullPolicy, at.Child("imagePullPolicy"))...)
	v.add(oneOf(at.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	v.ports(c.Ports, at.Child("ports"))
	v.env(c.Env, at.Child("env"))
	v.envFrom(c.EnvFrom, at.Child("envFrom"))
	v.mounts(c, at.Child("volumeMounts"))
	v.devices(c, at.Child("volumeDevices"))
	v.requirements(&c.Resources, at.Child("resources"), validateContainerResource)
	v.resizePolicies(c.ResizePolicy, at.Child("resizePolicy"))
	v.containerSecurity(c.SecurityContext, at.Child("securityContext"))
}

func validatePullPolicy(p corev1.PullPolicy, at *field.Path) field.ErrorList {
	return oneOf(at, p, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

// running judges what is done to containers that stay: hooks and probes.
func (v *podValidator) running(c *corev1.Container, at *field.Path) {
	v.lifecycle(c.Lifecycle, at.Child("lifecycle"))
	v.probe(c.LivenessProbe, at.Child("livenessProbe"), true)
	v.probe(c.StartupProbe, at.Child("startupProbe"), true)
	v.probe(c.ReadinessProbe, at.Child("readinessProbe"), false)
	if p := c.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		v.invalid(at.Child("readinessProbe", "terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must not be set for readinessProbes")
	}
}

// initial judges what an init container may have: probes and hooks only if it is a sidecar (KEP-753).
func (v *podValidator) initial(c *corev1.Container, at *field.Path) {
	if sidecar(c) {
		v.running(c, at)
		return
	}
	forbid := func(name string, set bool) {
		if set {
			v.add(field.Forbidden(at.Child(name), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	forbid("lifecycle", c.Lifecycle != nil)
	forbid("livenessProbe", c.LivenessProbe != nil)
	forbid("readinessProbe", c.ReadinessProbe != nil)
	forbid("startupProbe", c.StartupProbe != nil)
	for i, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer {
			v.invalid(at.Child("resizePolicy").Index(i).Child("restartPolicy"), p.RestartPolicy, "must not be set to 'RestartContainer' for non-sidecar initContainers")
		}
	}
}

// restartPolicy judges a container's own policy and KEP-5307's rules: by exit code, and only beside a policy.
func (v *podValidator) restartPolicy(c *corev1.Container, at *field.Path) {
	at, rules := at.Child("restartPolicy"), at.Child("restartPolicyRules")
	switch p := c.RestartPolicy; {
	case p != nil && *p != corev1.ContainerRestartPolicyAlways && *p != corev1.ContainerRestartPolicyNever && *p != corev1.ContainerRestartPolicyOnFailure:
		v.add(notOneOf(at, *p, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure))
	case p == nil && len(c.RestartPolicyRules) > 0:
		v.add(field.Required(at, "must specify restartPolicy when restart rules are used"))
		if v.isInitial(c) {
			return
		}
	}
	const most, values = 20, 255
	if len(c.RestartPolicyRules) > most {
		v.add(field.TooMany(rules, len(c.RestartPolicyRules), most))
	}
	for i, r := range c.RestartPolicyRules {
		at := rules.Index(i)
		if r.Action != corev1.ContainerRestartRuleActionRestart && r.Action != corev1.ContainerRestartRuleActionRestartAllContainers {
			v.add(notOneOf(at.Child("action"), r.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers))
		}
		if r.ExitCodes == nil {
			v.add(field.Required(at.Child("exitCodes"), "must be specified"))
			continue
		}
		if op := r.ExitCodes.Operator; op != corev1.ContainerRestartRuleOnExitCodesOpIn && op != corev1.ContainerRestartRuleOnExitCodesOpNotIn {
			v.add(notOneOf(at.Child("exitCodes", "operator"), op, corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn))
		}
		if n := len(r.ExitCodes.Values); n > values {
			v.add(field.TooMany(at.Child("exitCodes", "values"), n, values))
		}
	}
}

func (v *podValidator) isInitial(c *corev1.Container) bool {
	for i := range v.spec.InitContainers {
		if c == &v.spec.InitContainers[i] {
			return true
		}
	}
	return false
}

func (v *podValidator) resizePolicies(policies []corev1.ContainerResizePolicy, at *field.Path) {
	seen := distinct{}
	for i, p := range policies {
		v.add(seen.check(string(p.ResourceName), at.Index(i))...)
		v.add(oneOf(at, p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)...)
		v.add(oneOf(at, p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)...)
		if v.spec.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			v.invalid(at, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

func (v *podValidator) ports(ports []corev1.ContainerPort, path *field.Path) {
	names := distinct{}
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != "" {
			if msgs := utilvalidation.IsValidPortName(p.Name); len(msgs) > 0 {
				v.invalid(at.Child("name"), p.Name, msgs...)
			} else {
				v.add(names.check(p.Name, at.Child("name"))...)
			}
		}
		if p.ContainerPort == 0 {
			v.add(field.Required(at.Child("containerPort"), ""))
		} else {
			v.invalid(at.Child("containerPort"), p.ContainerPort, utilvalidation.IsValidPortNum(int(p.ContainerPort))...)
		}
		if p.HostPort != 0 {
			v.invalid(at.Child("hostPort"), p.HostPort, utilvalidation.IsValidPortNum(int(p.HostPort))...)
		}
		v.add(oneOf(at.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
}

func (v *podValidator) hostPorts(c *corev1.Container, at *field.Path, seen distinct) {
	for i, p := range c.Ports {
		if p.HostPort != 0 {
			id := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
			v.add(seen.check(id, v.portPath(c, at, i))...)
		}
	}
}

// portPath is where Kubernetes reports a host port that is taken: init containers are judged one at a time, and
// each is then the first.
func (v *podValidator) portPath(c *corev1.Container, at *field.Path, i int) *field.Path {
	if v.isInitial(c) {
		at = v.path.Child("initContainers").Index(0)
	}
	return at.Child("ports").Index(i).Child("hostPort")
}

// ephemeral judges the containers that only an update can add: they may have little.
func (v *podValidator) ephemeral(names distinct) {
	others := distinct{}
	for c := range containers(v.spec) {
		others[c.Name], names[c.Name] = true, true
	}
	for i := range v.spec.EphemeralContainers {
		e, at := &v.spec.EphemeralContainers[i], v.path.Child("ephemeralContainers").Index(i)
		c := (*corev1.Container)(&e.EphemeralContainerCommon)
		v.container(c, at)
		v.add(validateImage(c, at)...)
		v.add(names.check(c.Name, at.Child("name"))...)
		if t := e.TargetContainerName; t != "" && !others[t] {
			v.add(field.NotFound(at.Child("targetContainerName"), t))
		}
		v.ephemeralFields(c, at)
	}
}

func (v *podValidator) ephemeralFields(c *corev1.Container, at *field.Path) {
	forbid := func(at *field.Path, set bool) {
		if set {
			v.add(field.Forbidden(at, "cannot be set for an Ephemeral Container"))
		}
	}
	forbid(at.Child("ports"), c.Ports != nil)
	forbid(at.Child("resources"), c.Resources.Limits != nil || c.Resources.Requests != nil || c.Resources.Claims != nil)
	forbid(at.Child("livenessProbe"), c.LivenessProbe != nil)
	forbid(at.Child("readinessProbe"), c.ReadinessProbe != nil)
	forbid(at.Child("startupProbe"), c.StartupProbe != nil)
	forbid(at.Child("lifecycle"), c.Lifecycle != nil)
	forbid(at.Child("resizePolicy"), c.ResizePolicy != nil)
	forbid(at.Child("restartPolicy"), c.RestartPolicy != nil)
	forbid(at.Child("restartPolicyRules"), c.RestartPolicyRules != nil)
	for i, m := range c.VolumeMounts {
		forbid(at.Child("volumeMounts").Index(i).Child("subPath"), m.SubPath != "")
		forbid(at.Child("volumeMounts").Index(i).Child("subPathExpr"), m.SubPathExpr != "")
	}
}
