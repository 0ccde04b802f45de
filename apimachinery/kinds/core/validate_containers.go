package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

func (v *podValidator) containers() {
	at := v.path.child("containers")
	if len(v.spec.Containers) == 0 {
		v.add(field.Required(at.path(), ""))
	}
	names, hostPorts := distinct{}, distinct{}
	for i := range v.spec.Containers {
		c, at := &v.spec.Containers[i], at.index(i)
		v.container(c, at)
		v.add(names.check(c.Name, at.child("name").path())...)
		v.running(c, at)
		v.restartPolicy(c, at)
		v.hostPorts(c, at, hostPorts)
	}
	at = v.path.child("initContainers")
	for i := range v.spec.InitContainers {
		c, at := &v.spec.InitContainers[i], at.index(i)
		v.container(c, at)
		if names[c.Name] || c.Name != "" {
			v.add(names.check(c.Name, at.child("name").path())...)
		}
		v.restartPolicy(c, at)
		v.hostPorts(c, at, distinct{}) // they run one by one
		v.initial(c, at)
	}
	v.ephemeral(names)
}

// container judges what holds for all containers.
func (v *podValidator) container(c *corev1.Container, at *place) {
	v.required(c.Name, at.child("name"))
	if c.Name != "" {
		v.form(at.child("name"), c.Name, forms.Label)
	}
	v.required(c.Image, at.child("image"))
	v.add(validatePullPolicy(c.ImagePullPolicy, at.child("imagePullPolicy"))...)
	v.add(oneOf(at.child("terminationMessagePolicy").path(), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	v.ports(c.Ports, at.child("ports"))
	v.env(c.Env, at.child("env"))
	v.envFrom(c.EnvFrom, at.child("envFrom"))
	v.mounts(c, at.child("volumeMounts"))
	v.devices(c, at.child("volumeDevices"))
	v.requirements(&c.Resources, at.child("resources"), validateContainerResource)
	v.resizePolicies(c.ResizePolicy, at.child("resizePolicy"))
	v.containerSecurity(c.SecurityContext, at.child("securityContext"))
}

func validatePullPolicy(p corev1.PullPolicy, at *place) field.ErrorList {
	return oneOf(at.path(), p, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

// running judges what is done to containers that stay: hooks and probes.
func (v *podValidator) running(c *corev1.Container, at *place) {
	v.lifecycle(c.Lifecycle, at.child("lifecycle"))
	v.probe(c.LivenessProbe, at.child("livenessProbe"), true)
	v.probe(c.StartupProbe, at.child("startupProbe"), true)
	v.probe(c.ReadinessProbe, at.child("readinessProbe"), false)
	if p := c.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		v.invalid(at.child("readinessProbe").child("terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must not be set for readinessProbes")
	}
}

// initial judges what an init container may have: probes and hooks only if it is a sidecar (KEP-753).
func (v *podValidator) initial(c *corev1.Container, at *place) {
	if sidecar(c) {
		v.running(c, at)
		return
	}
	forbid := func(name string, set bool) {
		if set {
			v.add(field.Forbidden(at.child(name).path(), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	forbid("lifecycle", c.Lifecycle != nil)
	forbid("livenessProbe", c.LivenessProbe != nil)
	forbid("readinessProbe", c.ReadinessProbe != nil)
	forbid("startupProbe", c.StartupProbe != nil)
	for i, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer {
			v.invalid(at.child("resizePolicy").index(i).child("restartPolicy"), p.RestartPolicy, "must not be set to 'RestartContainer' for non-sidecar initContainers")
		}
	}
}

// restartPolicy judges a container's own policy and KEP-5307's rules: by exit code, and only beside a policy.
func (v *podValidator) restartPolicy(c *corev1.Container, at *place) {
	at, rules := at.child("restartPolicy"), at.child("restartPolicyRules")
	switch p := c.RestartPolicy; {
	case p != nil && *p != corev1.ContainerRestartPolicyAlways && *p != corev1.ContainerRestartPolicyNever && *p != corev1.ContainerRestartPolicyOnFailure:
		v.add(notOneOf(at.path(), *p, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure))
	case p == nil && len(c.RestartPolicyRules) > 0:
		v.add(field.Required(at.path(), "must specify restartPolicy when restart rules are used"))
		if v.isInitial(c) {
			return
		}
	}
	const most, values = 20, 255
	if len(c.RestartPolicyRules) > most {
		v.add(field.TooMany(rules.path(), len(c.RestartPolicyRules), most))
	}
	for i, r := range c.RestartPolicyRules {
		at := rules.index(i)
		if r.Action != corev1.ContainerRestartRuleActionRestart && r.Action != corev1.ContainerRestartRuleActionRestartAllContainers {
			v.add(notOneOf(at.child("action").path(), r.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers))
		}
		if r.ExitCodes == nil {
			v.add(field.Required(at.child("exitCodes").path(), "must be specified"))
			continue
		}
		if op := r.ExitCodes.Operator; op != corev1.ContainerRestartRuleOnExitCodesOpIn && op != corev1.ContainerRestartRuleOnExitCodesOpNotIn {
			v.add(notOneOf(at.child("exitCodes").child("operator").path(), op, corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn))
		}
		if n := len(r.ExitCodes.Values); n > values {
			v.add(field.TooMany(at.child("exitCodes").child("values").path(), n, values))
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

func (v *podValidator) resizePolicies(policies []corev1.ContainerResizePolicy, at *place) {
	seen := distinct{}
	for i, p := range policies {
		v.add(seen.check(string(p.ResourceName), at.index(i).path())...)
		v.add(oneOf(at.path(), p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)...)
		v.add(oneOf(at.path(), p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)...)
		if v.spec.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			v.invalid(at, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

func (v *podValidator) ports(ports []corev1.ContainerPort, path *place) {
	names := distinct{}
	for i, p := range ports {
		at := path.index(i)
		if p.Name != "" {
			if msgs := forms.PortName(p.Name); len(msgs) > 0 {
				v.invalid(at.child("name"), p.Name, msgs...)
			} else {
				v.add(names.check(p.Name, at.child("name").path())...)
			}
		}
		if p.ContainerPort == 0 {
			v.add(field.Required(at.child("containerPort").path(), ""))
		} else {
			v.portNumber(p.ContainerPort, at.child("containerPort"))
		}
		if p.HostPort != 0 {
			v.portNumber(p.HostPort, at.child("hostPort"))
		}
		v.add(oneOf(at.child("protocol").path(), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
}

func (v *podValidator) portNumber(n int32, at *place) {
	v.add(invalid(at.path(), n, utilvalidation.IsValidPortNum(int(n))...)...)
}

func (v *podValidator) hostPorts(c *corev1.Container, at *place, seen distinct) {
	for i, p := range c.Ports {
		if p.HostPort != 0 {
			id := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
			v.add(seen.check(id, v.portPath(c, at, i).path())...)
		}
	}
}

// portPath is where Kubernetes reports a host port that is taken: init containers are judged one at a time, and
// each is then the first.
func (v *podValidator) portPath(c *corev1.Container, at *place, i int) *place {
	if v.isInitial(c) {
		at = v.path.child("initContainers").index(0)
	}
	return at.child("ports").index(i).child("hostPort")
}

// ephemeral judges the containers that only an update can add: they may have little.
func (v *podValidator) ephemeral(names distinct) {
	others := distinct{}
	for c := range containers(v.spec) {
		others[c.Name], names[c.Name] = true, true
	}
	for i := range v.spec.EphemeralContainers {
		e, at := &v.spec.EphemeralContainers[i], v.path.child("ephemeralContainers").index(i)
		c := (*corev1.Container)(&e.EphemeralContainerCommon)
		v.container(c, at)
		v.add(validateImage(c, at)...)
		v.add(names.check(c.Name, at.child("name").path())...)
		if t := e.TargetContainerName; t != "" && !others[t] {
			v.add(field.NotFound(at.child("targetContainerName").path(), t))
		}
		v.ephemeralFields(c, at)
	}
}

func (v *podValidator) ephemeralFields(c *corev1.Container, at *place) {
	forbid := func(at *place, set bool) {
		if set {
			v.add(field.Forbidden(at.path(), "cannot be set for an Ephemeral Container"))
		}
	}
	forbid(at.child("ports"), c.Ports != nil)
	forbid(at.child("resources"), c.Resources.Limits != nil || c.Resources.Requests != nil || c.Resources.Claims != nil)
	forbid(at.child("livenessProbe"), c.LivenessProbe != nil)
	forbid(at.child("readinessProbe"), c.ReadinessProbe != nil)
	forbid(at.child("startupProbe"), c.StartupProbe != nil)
	forbid(at.child("lifecycle"), c.Lifecycle != nil)
	forbid(at.child("resizePolicy"), c.ResizePolicy != nil)
	forbid(at.child("restartPolicy"), c.RestartPolicy != nil)
	forbid(at.child("restartPolicyRules"), c.RestartPolicyRules != nil)
	for i, m := range c.VolumeMounts {
		forbid(at.child("volumeMounts").index(i).child("subPath"), m.SubPath != "")
		forbid(at.child("volumeMounts").index(i).child("subPathExpr"), m.SubPathExpr != "")
	}
}
