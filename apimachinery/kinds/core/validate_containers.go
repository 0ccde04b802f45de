package core

import (
	"fmt"
	"path"
	"strings"

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
		c := &v.spec.Containers[i]
		v.container(c, at.Index(i), names)
		v.regular(c, at.Index(i))
		v.hostPorts(c, at.Index(i), hostPorts)
	}
	at = v.path.Child("initContainers")
	for i := range v.spec.InitContainers {
		c := &v.spec.InitContainers[i]
		v.container(c, at.Index(i), names)
		v.initial(c, at.Index(i))
		if sidecar(c) {
			v.hostPorts(c, at.Index(i), hostPorts)
		}
	}
	if len(v.spec.EphemeralContainers) > 0 {
		v.add(field.Forbidden(v.path.Child("ephemeralContainers"), "cannot be set on create: use the ephemeralcontainers subresource"))
	}
}

func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// container judges what holds for containers and init containers alike.
func (v *podValidator) container(c *corev1.Container, at *field.Path, names distinct) {
	if c.Name == "" {
		v.add(field.Required(at.Child("name"), ""))
	} else {
		v.invalid(at.Child("name"), c.Name, utilvalidation.IsDNS1123Label(c.Name)...)
		v.add(names.check(c.Name, at.Child("name"))...)
	}
	switch {
	case c.Image == "":
		v.add(field.Required(at.Child("image"), ""))
	case strings.TrimSpace(c.Image) != c.Image:
		v.invalid(at.Child("image"), c.Image, "must not have leading or trailing whitespace")
	}
	switch c.ImagePullPolicy {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	case "":
		v.add(field.Required(at.Child("imagePullPolicy"), ""))
	default:
		v.add(notOneOf(at.Child("imagePullPolicy"), c.ImagePullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever))
	}
	switch c.TerminationMessagePolicy {
	case corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError:
	case "":
		v.add(field.Required(at.Child("terminationMessagePolicy"), ""))
	default:
		v.add(notOneOf(at.Child("terminationMessagePolicy"), c.TerminationMessagePolicy, corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError))
	}
	v.ports(c.Ports, at.Child("ports"))
	v.env(c.Env, at.Child("env"))
	v.envFrom(c.EnvFrom, at.Child("envFrom"))
	v.mounts(c, at)
	v.add(validateRequirements(&c.Resources, at.Child("resources"), v.spec.ResourceClaims, "container")...)
	v.containerSecurity(c.SecurityContext, at.Child("securityContext"))
}

func (v *podValidator) regular(c *corev1.Container, at *field.Path) {
	if c.RestartPolicy != nil {
		v.restartPolicy(*c.RestartPolicy, at)
	}
	v.restartRules(c, at)
	v.lifecycle(c.Lifecycle, at.Child("lifecycle"))
	v.probe(c.LivenessProbe, at.Child("livenessProbe"), true)
	v.probe(c.StartupProbe, at.Child("startupProbe"), true)
	v.probe(c.ReadinessProbe, at.Child("readinessProbe"), false)
}

func (v *podValidator) restartPolicy(p corev1.ContainerRestartPolicy, at *field.Path) {
	switch p {
	case corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure:
	default:
		v.add(notOneOf(at.Child("restartPolicy"), p, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure))
	}
}

// restartRules judges KEP-5307's rules: by exit code, and only beside a restart policy.
func (v *podValidator) restartRules(c *corev1.Container, at *field.Path) {
	rules := at.Child("restartPolicyRules")
	if len(c.RestartPolicyRules) > 0 && c.RestartPolicy == nil {
		v.add(field.Required(at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
	}
	if len(c.RestartPolicyRules) > 20 {
		v.add(field.TooMany(rules, len(c.RestartPolicyRules), 20))
	}
	for i, r := range c.RestartPolicyRules {
		if r.ExitCodes == nil {
			v.add(field.Required(rules.Index(i).Child("exitCodes"), "must be specified"))
			continue
		}
		op := r.ExitCodes.Operator
		if op != corev1.ContainerRestartRuleOnExitCodesOpIn && op != corev1.ContainerRestartRuleOnExitCodesOpNotIn {
			v.add(notOneOf(rules.Index(i).Child("exitCodes", "operator"), op, corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn))
		}
		if n := len(r.ExitCodes.Values); n > 255 {
			v.add(field.TooMany(rules.Index(i).Child("exitCodes", "values"), n, 255))
		}
	}
}

// initial judges what an init container may have: probes and hooks only if it is a sidecar (KEP-753).
func (v *podValidator) initial(c *corev1.Container, at *field.Path) {
	if sidecar(c) {
		v.regular(c, at)
		return
	}
	if c.RestartPolicy != nil {
		v.restartPolicy(*c.RestartPolicy, at)
	}
	v.restartRules(c, at)
	forbid := func(name string, set bool) {
		if set {
			v.add(field.Forbidden(at.Child(name), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	forbid("lifecycle", c.Lifecycle != nil)
	forbid("livenessProbe", c.LivenessProbe != nil)
	forbid("readinessProbe", c.ReadinessProbe != nil)
	forbid("startupProbe", c.StartupProbe != nil)
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
			if v.spec.HostNetwork && p.HostPort != p.ContainerPort {
				v.invalid(at.Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true")
			}
		}
		switch p.Protocol {
		case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		case "":
			v.add(field.Required(at.Child("protocol"), ""))
		default:
			v.add(notOneOf(at.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP))
		}
	}
}

func (v *podValidator) hostPorts(c *corev1.Container, at *field.Path, seen distinct) {
	for i, p := range c.Ports {
		if p.HostPort != 0 {
			id := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
			v.add(seen.check(id, at.Child("ports").Index(i).Child("hostPort"))...)
		}
	}
}

func (v *podValidator) env(env []corev1.EnvVar, path *field.Path) {
	for i, e := range env {
		at := path.Index(i)
		if e.Name == "" {
			v.add(field.Required(at.Child("name"), ""))
		} else {
			v.invalid(at.Child("name"), e.Name, utilvalidation.IsRelaxedEnvVarName(e.Name)...)
		}
		if e.ValueFrom != nil {
			v.envSource(e, at.Child("valueFrom"))
		}
	}
}

// The fields of a pod that the downward API gives to the environment.
var envFieldPaths = []string{
	"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
	"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
}

func (v *podValidator) envSource(e corev1.EnvVar, at *field.Path) {
	from, sources := e.ValueFrom, 0
	if e.Value != "" {
		v.invalid(at, "", "may not be specified when `value` is not empty")
	}
	if r := from.FieldRef; r != nil {
		sources++
		v.fieldRef(r, at.Child("fieldRef"), envFieldPaths)
	}
	if r := from.ResourceFieldRef; r != nil {
		sources++
		v.resourceRef(r, at.Child("resourceFieldRef"), false)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		v.keyRef(r.Name, r.Key, at.Child("configMapKeyRef"))
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		v.keyRef(r.Name, r.Key, at.Child("secretKeyRef"))
	}
	if r := from.FileKeyRef; r != nil {
		sources++
		v.keyRef(r.VolumeName, r.Key, at.Child("fileKeyRef"))
		if _, ok := v.volumeNames[r.VolumeName]; !ok {
			v.add(field.NotFound(at.Child("fileKeyRef", "volumeName"), r.VolumeName))
		}
	}
	if sources == 0 {
		v.invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`")
	} else if sources > 1 {
		v.invalid(at, "", "may not have more than one field specified at a time")
	}
}

func (v *podValidator) keyRef(name, key string, at *field.Path) {
	if name == "" {
		v.add(field.Required(at.Child("name"), ""))
	}
	if key == "" {
		v.add(field.Required(at.Child("key"), ""))
	} else {
		v.invalid(at.Child("key"), key, utilvalidation.IsConfigMapKey(key)...)
	}
}

func (v *podValidator) fieldRef(r *corev1.ObjectFieldSelector, at *field.Path, supported []string) {
	switch {
	case r.APIVersion == "":
		v.add(field.Required(at.Child("apiVersion"), ""))
		return
	case r.FieldPath == "":
		v.add(field.Required(at.Child("fieldPath"), ""))
		return
	}
	if base, key, ok := subscript(r.FieldPath); ok {
		switch base {
		case "metadata.annotations", "metadata.labels":
			v.add(validateQualifiedName(strings.ToLower(key), at)...)
		default:
			v.invalid(at, r.FieldPath, "does not support subscript")
		}
		return
	}
	for _, s := range supported {
		if r.FieldPath == s {
			return
		}
	}
	v.add(field.NotSupported(at.Child("fieldPath"), r.FieldPath, supported))
}

// subscript splits metadata.labels['app'] into its field and its key.
func subscript(p string) (base, key string, ok bool) {
	base, rest, found := strings.Cut(p, "['")
	key, tail, closed := strings.Cut(rest, "']")
	return base, key, found && closed && tail == ""
}

func (v *podValidator) resourceRef(r *corev1.ResourceFieldSelector, at *field.Path, volume bool) {
	switch {
	case volume && r.ContainerName == "":
		v.add(field.Required(at.Child("containerName"), ""))
	case r.Resource == "":
		v.add(field.Required(at.Child("resource"), ""))
	}
	kind, name, _ := strings.Cut(r.Resource, ".")
	known := name == "cpu" || name == "memory" || name == "ephemeral-storage" || strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
	if r.Resource != "" && (kind != "limits" && kind != "requests" || !known) {
		v.add(field.NotSupported(at.Child("resource"), r.Resource, []string{
			"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
		}))
	}
}

func (v *podValidator) envFrom(sources []corev1.EnvFromSource, path *field.Path) {
	for i, s := range sources {
		at, count := path.Index(i), 0
		if s.Prefix != "" {
			v.invalid(at.Child("prefix"), s.Prefix, utilvalidation.IsRelaxedEnvVarName(s.Prefix)...)
		}
		if s.ConfigMapRef != nil {
			count++
			v.required(s.ConfigMapRef.Name, at.Child("configMapRef", "name"))
		}
		if s.SecretRef != nil {
			count++
			v.required(s.SecretRef.Name, at.Child("secretRef", "name"))
		}
		if count == 0 {
			v.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
		} else if count > 1 {
			v.invalid(path, "", "may not have more than one field specified at a time")
		}
	}
}

func (v *podValidator) required(value string, at *field.Path) {
	if value == "" {
		v.add(field.Required(at, ""))
	}
}

func (v *podValidator) mounts(c *corev1.Container, at *field.Path) {
	points := distinct{}
	for i, m := range c.VolumeMounts {
		p := at.Child("volumeMounts").Index(i)
		v.required(m.Name, p.Child("name"))
		if _, ok := v.volumeNames[m.Name]; !ok && m.Name != "" {
			v.add(field.NotFound(p.Child("name"), m.Name))
		}
		v.required(m.MountPath, p.Child("mountPath"))
		if points[m.MountPath] {
			v.invalid(p.Child("mountPath"), m.MountPath, "must be unique")
		}
		points[m.MountPath] = true
		if m.SubPath != "" && m.SubPathExpr != "" {
			v.invalid(p.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
		}
		v.localPath(m.SubPath, p.Child("subPath"))
		v.localPath(m.SubPathExpr, p.Child("subPathExpr"))
		v.propagation(m, c, p)
	}
	for i, d := range c.VolumeDevices {
		p := at.Child("volumeDevices").Index(i)
		v.required(d.Name, p.Child("name"))
		v.required(d.DevicePath, p.Child("devicePath"))
		if vol, ok := v.volumeNames[d.Name]; !ok {
			v.add(field.NotFound(p.Child("name"), d.Name))
		} else if vol.PersistentVolumeClaim == nil && vol.Ephemeral == nil {
			v.invalid(p.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
		}
	}
}

// localPath judges a path that must stay inside a volume.
func (v *podValidator) localPath(p string, at *field.Path) {
	if path.IsAbs(p) {
		v.invalid(at, p, "must be a relative path")
	}
	v.noBackstep(p, at)
}

func (v *podValidator) noBackstep(p string, at *field.Path) {
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			v.invalid(at, p, "must not contain '..'")
			return
		}
	}
}

func (v *podValidator) propagation(m corev1.VolumeMount, c *corev1.Container, at *field.Path) {
	if m.MountPropagation == nil {
		return
	}
	p := at.Child("mountPropagation")
	switch *m.MountPropagation {
	case corev1.MountPropagationNone, corev1.MountPropagationHostToContainer:
	case corev1.MountPropagationBidirectional:
		if c.SecurityContext == nil || c.SecurityContext.Privileged == nil || !*c.SecurityContext.Privileged {
			v.add(field.Forbidden(p, "Bidirectional mount propagation is available only to privileged containers"))
		}
	default:
		v.add(notOneOf(p, *m.MountPropagation, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone))
	}
	if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled && !m.ReadOnly {
		v.add(field.Forbidden(at.Child("recursiveReadOnly"), "may only be specified when readOnly is true"))
	}
}
