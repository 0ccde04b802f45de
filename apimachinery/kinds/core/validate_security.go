package core

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// security judges the pod's security context, and what the host's namespaces exclude.
func (v *podValidator) security() {
	v.userNamespace()
	v.windowsHostProcess()
	c, path := v.spec.SecurityContext, v.path.child("securityContext")
	if c == nil {
		return
	}
	if share := v.spec.ShareProcessNamespace; share != nil && *share && v.spec.HostPID {
		v.invalid(path.child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	v.userID(c.RunAsUser, path.child("runAsUser"))
	v.userID(c.RunAsGroup, path.child("runAsGroup"))
	v.userID(c.FSGroup, path.child("fsGroup"))
	for i, g := range c.SupplementalGroups {
		v.userID(&g, path.child("supplementalGroups").index(i))
	}
	v.sysctls(c.Sysctls, path.child("sysctls"))
	if p := c.FSGroupChangePolicy; p != nil && *p != corev1.FSGroupChangeOnRootMismatch && *p != corev1.FSGroupChangeAlways {
		v.add(notOneOf(path.child("fsGroupChangePolicy").path(), *p, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch))
	}
	if p := c.SupplementalGroupsPolicy; p != nil && *p != corev1.SupplementalGroupsPolicyMerge && *p != corev1.SupplementalGroupsPolicyStrict {
		v.add(notOneOf(path.child("supplementalGroupsPolicy").path(), *p, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict))
	}
	if p := c.SELinuxChangePolicy; p != nil && *p != corev1.SELinuxChangePolicyRecursive && *p != corev1.SELinuxChangePolicyMountOption {
		v.add(notOneOf(path.child("seLinuxChangePolicy").path(), *p, corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive))
	}
	v.seccomp(c.SeccompProfile, path.child("seccompProfile"))
	v.appArmor(c.AppArmorProfile, path.child("appArmorProfile"))
	v.windowsOptions(c.WindowsOptions, path.child("windowsOptions"))
}

// userNamespace judges what a pod with users of its own can't have of the host's.
func (v *podValidator) userNamespace() {
	s := v.spec
	if s.HostUsers == nil || *s.HostUsers {
		return
	}
	forbid := func(at *place, set bool) {
		if set {
			v.add(field.Forbidden(at.path(), "when `hostUsers` is false"))
		}
	}
	forbid(v.path.child("hostNetwork"), s.HostNetwork)
	forbid(v.path.child("HostPID"), s.HostPID)
	forbid(v.path.child("HostIPC"), s.HostIPC)
	v.visit(func(c *corev1.Container, at *place) { forbid(at.child("volumeDevices"), len(c.VolumeDevices) > 0) })
}

func (v *podValidator) userID(id *int64, at *place) {
	if id != nil {
		v.add(invalid(at.path(), *id, utilvalidation.IsValidUserID(*id)...)...)
	}
}

func (v *podValidator) sysctls(sysctls []corev1.Sysctl, path *place) {
	names := distinct{}
	for i, s := range sysctls {
		at := path.index(i).child("name")
		switch {
		case s.Name == "":
			v.add(field.Required(at.path(), ""))
		case len(s.Name) > maxSysctl || !sysctlForm.MatchString(s.Name):
			v.invalid(at, s.Name, "must have at most 253 characters and match regex "+sysctlForm.String())
		default:
			v.add(names.check(s.Name, at.path())...)
		}
		switch name := dottedSysctl(s.Name); {
		case v.spec.HostNetwork && strings.HasPrefix(name, "net."):
			v.invalid(at, s.Name, "may not be specified when 'hostNetwork' is true")
		case v.spec.HostIPC && ipcSysctl(name):
			v.invalid(at, s.Name, "may not be specified when 'hostIPC' is true")
		}
	}
}

const maxSysctl = 253

var sysctlForm = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

// dottedSysctl is the name with dots between its parts: a name whose first separator is a slash has the two the other
// way round.
func dottedSysctl(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}

func ipcSysctl(name string) bool {
	return name == "kernel.sem" || strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || strings.HasPrefix(name, "fs.mqueue.")
}

func (v *podValidator) seccomp(p *corev1.SeccompProfile, at *place) {
	if p == nil {
		return
	}
	v.add(oneOf(at.child("type").path(), p.Type, corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)...)
	file := at.child("localhostProfile")
	switch local := p.Type == corev1.SeccompProfileTypeLocalhost; {
	case local && p.LocalhostProfile == nil:
		v.add(field.Required(file.path(), "must be set when seccomp type is Localhost"))
	case local:
		v.add(validateLocalPath(*p.LocalhostProfile, file)...)
	case p.LocalhostProfile != nil:
		v.invalid(file, *p, "can only be set when seccomp type is Localhost")
	}
}

func (v *podValidator) appArmor(p *corev1.AppArmorProfile, at *place) {
	if p == nil {
		return
	}
	name := at.child("localhostProfile")
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		v.appArmorName(p.LocalhostProfile, name)
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			v.invalid(name, *p.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	default:
		v.add(oneOf(at.child("type").path(), p.Type, corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)...)
	}
}

func (v *podValidator) appArmorName(name *string, at *place) {
	const longest = 4095
	switch {
	case name == nil || *name == "":
		v.add(field.Required(at.path(), "must be set when AppArmor type is Localhost"))
		return
	case strings.TrimSpace(*name) != *name:
		v.invalid(at, *name, "must not be padded with whitespace")
	}
	if len(*name) > longest {
		v.add(field.TooLong(at.path(), "", longest))
	}
}

func (v *podValidator) containerSecurity(c *corev1.SecurityContext, at *place) {
	if c == nil {
		return
	}
	v.userID(c.RunAsUser, at.child("runAsUser"))
	v.userID(c.RunAsGroup, at.child("runAsGroup"))
	if c.AllowPrivilegeEscalation != nil && !*c.AllowPrivilegeEscalation {
		if c.Privileged != nil && *c.Privileged {
			v.invalid(at, *c, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
		}
		if c.Capabilities != nil {
			for _, add := range c.Capabilities.Add {
				if add == "CAP_SYS_ADMIN" {
					v.invalid(at, *c, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
				}
			}
		}
	}
	if m := c.ProcMount; m != nil {
		if *m != corev1.DefaultProcMount && *m != corev1.UnmaskedProcMount {
			v.add(notOneOf(at.child("procMount").path(), *m, corev1.DefaultProcMount, corev1.UnmaskedProcMount))
		}
		if *m == corev1.UnmaskedProcMount && (v.spec.HostUsers == nil || *v.spec.HostUsers) {
			v.invalid(at.child("procMount"), *m, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	v.seccomp(c.SeccompProfile, at.child("seccompProfile"))
	v.appArmor(c.AppArmorProfile, at.child("appArmorProfile"))
	v.windowsOptions(c.WindowsOptions, at.child("windowsOptions"))
}
