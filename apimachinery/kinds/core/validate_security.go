package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// security judges the pod's security context, and what the host's namespaces exclude.
func (v *podValidator) security() {
	s, path := v.spec, v.path.Child("securityContext")
	if s.ShareProcessNamespace != nil && *s.ShareProcessNamespace && s.HostPID {
		v.invalid(v.path.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	if s.HostUsers != nil && !*s.HostUsers {
		for name, host := range map[string]bool{"hostNetwork": s.HostNetwork, "hostPID": s.HostPID, "hostIPC": s.HostIPC} {
			if host {
				v.add(field.Forbidden(v.path.Child(name), "when `hostUsers` is false"))
			}
		}
	}
	c := s.SecurityContext
	if c == nil {
		return
	}
	v.userID(c.RunAsUser, path.Child("runAsUser"))
	v.userID(c.RunAsGroup, path.Child("runAsGroup"))
	v.userID(c.FSGroup, path.Child("fsGroup"))
	for i, g := range c.SupplementalGroups {
		v.userID(&g, path.Child("supplementalGroups").Index(i))
	}
	v.sysctls(c.Sysctls, path.Child("sysctls"))
	if p := c.FSGroupChangePolicy; p != nil && *p != corev1.FSGroupChangeOnRootMismatch && *p != corev1.FSGroupChangeAlways {
		v.add(notOneOf(path.Child("fsGroupChangePolicy"), *p, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch))
	}
	if p := c.SupplementalGroupsPolicy; p != nil && *p != corev1.SupplementalGroupsPolicyMerge && *p != corev1.SupplementalGroupsPolicyStrict {
		v.add(notOneOf(path.Child("supplementalGroupsPolicy"), *p, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict))
	}
	v.seccomp(c.SeccompProfile, path.Child("seccompProfile"))
	v.appArmor(c.AppArmorProfile, path.Child("appArmorProfile"))
}

func (v *podValidator) userID(id *int64, at *field.Path) {
	if id != nil {
		v.invalid(at, *id, utilvalidation.IsValidUserID(*id)...)
	}
}

func (v *podValidator) sysctls(sysctls []corev1.Sysctl, path *field.Path) {
	names := distinct{}
	for i, s := range sysctls {
		at := path.Index(i).Child("name")
		if s.Name == "" {
			v.add(field.Required(at, ""))
			continue
		}
		if !validSysctl(s.Name) {
			v.invalid(at, s.Name, "must have at most 253 characters and match regex "+sysctlForm)
			continue
		}
		name := strings.ReplaceAll(s.Name, "/", ".")
		if v.spec.HostNetwork && strings.HasPrefix(name, "net.") {
			v.invalid(at, s.Name, "may not be specified when 'hostNetwork' is true")
		}
		if v.spec.HostIPC && (strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || name == "kernel.sem" || strings.HasPrefix(name, "fs.mqueue.")) {
			v.invalid(at, s.Name, "may not be specified when 'hostIPC' is true")
		}
		v.add(names.check(name, at)...)
	}
}

const sysctlForm = `[a-z0-9]([-_a-z0-9]*[a-z0-9])?([\./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*`

// validSysctl says whether a name has the form above.
func validSysctl(name string) bool {
	if len(name) > 253 {
		return false
	}
	alnum := func(b byte) bool { return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }
	for part := range strings.FieldsFuncSeq("."+strings.ReplaceAll(name, "/", "."), func(r rune) bool { return r == '.' }) {
		if !alnum(part[0]) || !alnum(part[len(part)-1]) {
			return false
		}
		for i := range len(part) {
			if !alnum(part[i]) && part[i] != '-' && part[i] != '_' {
				return false
			}
		}
	}
	clean := strings.ReplaceAll(name, "/", ".")
	return clean != "" && !strings.HasPrefix(clean, ".") && !strings.HasSuffix(clean, ".") && !strings.Contains(clean, "..")
}

func (v *podValidator) seccomp(p *corev1.SeccompProfile, at *field.Path) {
	if p == nil {
		return
	}
	v.profile(string(p.Type), p.LocalhostProfile, at, string(corev1.SeccompProfileTypeLocalhost),
		string(corev1.SeccompProfileTypeRuntimeDefault), string(corev1.SeccompProfileTypeUnconfined))
	if p.LocalhostProfile != nil {
		v.localPath(*p.LocalhostProfile, at.Child("localhostProfile"))
	}
}

func (v *podValidator) appArmor(p *corev1.AppArmorProfile, at *field.Path) {
	if p != nil {
		v.profile(string(p.Type), p.LocalhostProfile, at, string(corev1.AppArmorProfileTypeLocalhost),
			string(corev1.AppArmorProfileTypeRuntimeDefault), string(corev1.AppArmorProfileTypeUnconfined))
	}
}

// profile judges the form that seccomp and AppArmor share; the first supported type is the one with a name.
func (v *podValidator) profile(typ string, name *string, at *field.Path, supported ...string) {
	known := false
	for _, s := range supported {
		known = known || s == typ
	}
	switch {
	case typ == "":
		v.add(field.Required(at.Child("type"), "type is required when a profile is set"))
	case !known:
		v.add(field.NotSupported(at.Child("type"), typ, supported))
	case typ == supported[0] && (name == nil || strings.TrimSpace(*name) == ""):
		v.add(field.Required(at.Child("localhostProfile"), "must be set when the type is Localhost"))
	case typ != supported[0] && name != nil:
		v.invalid(at.Child("localhostProfile"), *name, "can only be set when the type is Localhost")
	}
}

func (v *podValidator) containerSecurity(c *corev1.SecurityContext, at *field.Path) {
	if c == nil {
		return
	}
	v.userID(c.RunAsUser, at.Child("runAsUser"))
	v.userID(c.RunAsGroup, at.Child("runAsGroup"))
	if c.AllowPrivilegeEscalation != nil && !*c.AllowPrivilegeEscalation {
		if c.Privileged != nil && *c.Privileged {
			v.invalid(at, "", "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
		}
		if c.Capabilities != nil {
			for _, add := range c.Capabilities.Add {
				if add == "CAP_SYS_ADMIN" {
					v.invalid(at, "", "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
				}
			}
		}
	}
	if m := c.ProcMount; m != nil && *m != corev1.DefaultProcMount && *m != corev1.UnmaskedProcMount {
		v.add(notOneOf(at.Child("procMount"), *m, corev1.DefaultProcMount, corev1.UnmaskedProcMount))
	} else if m != nil && *m == corev1.UnmaskedProcMount && (v.spec.HostUsers == nil || *v.spec.HostUsers) {
		v.invalid(at.Child("procMount"), *m, "`hostUsers` must be false to use `Unmasked`")
	}
	v.seccomp(c.SeccompProfile, at.Child("seccompProfile"))
	v.appArmor(c.AppArmorProfile, at.Child("appArmorProfile"))
}
