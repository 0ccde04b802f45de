package core

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

func windows(s *corev1.PodSpec) bool { return s.OS != nil && s.OS.Name == corev1.Windows }

// system judges the operating system that a pod says it is for, and that it asks for nothing of the other.
func (v *podValidator) system() {
	if v.spec.OS == nil {
		return
	}
	switch at := v.path.child("os"); v.spec.OS.Name {
	case "":
		v.add(field.Required(at.child("name").path(), ""))
	case corev1.Linux:
		v.linux()
	case corev1.Windows:
		v.notOnWindows()
	default:
		v.add(notOneOf(at.path(), v.spec.OS.Name, corev1.Linux, corev1.Windows))
	}
}

func (v *podValidator) linux() {
	forbid := func(o *corev1.WindowsSecurityContextOptions, at *place) {
		if o != nil {
			v.add(field.Forbidden(at.child("securityContext").child("windowsOptions").path(), "windows options cannot be set for a linux pod"))
		}
	}
	if c := v.spec.SecurityContext; c != nil {
		forbid(c.WindowsOptions, v.path)
	}
	v.visit(func(c *corev1.Container, at *place) {
		if c.SecurityContext != nil {
			forbid(c.SecurityContext.WindowsOptions, at)
		}
	})
}

func (v *podValidator) notOnWindows() {
	s := v.spec
	forbid := func(set bool, at *place) {
		if set {
			v.add(field.Forbidden(at.path(), "cannot be set for a windows pod"))
		}
	}
	forbid(s.HostUsers != nil, v.path.child("hostUsers"))
	forbid(s.HostPID, v.path.child("hostPID"))
	forbid(s.HostIPC, v.path.child("hostIPC"))
	forbid(s.ShareProcessNamespace != nil, v.path.child("shareProcessNamespace"))
	if c, at := s.SecurityContext, v.path.child("securityContext"); c != nil {
		forbid(c.AppArmorProfile != nil, at.child("appArmorProfile"))
		forbid(c.SELinuxOptions != nil, at.child("seLinuxOptions"))
		forbid(c.SeccompProfile != nil, at.child("seccompProfile"))
		forbid(c.FSGroup != nil, at.child("fsGroup"))
		forbid(c.FSGroupChangePolicy != nil, at.child("fsGroupChangePolicy"))
		forbid(len(c.Sysctls) > 0, at.child("sysctls"))
		forbid(c.RunAsUser != nil, at.child("runAsUser"))
		forbid(c.RunAsGroup != nil, at.child("runAsGroup"))
		forbid(c.SupplementalGroups != nil, at.child("supplementalGroups"))
		forbid(c.SupplementalGroupsPolicy != nil, at.child("supplementalGroupsPolicy"))
		forbid(c.SELinuxChangePolicy != nil, at.child("seLinuxChangePolicy"))
	}
	v.visit(func(container *corev1.Container, at *place) {
		c, at := container.SecurityContext, at.child("securityContext")
		if c == nil {
			return
		}
		forbid(c.AppArmorProfile != nil, at.child("appArmorProfile"))
		forbid(c.SELinuxOptions != nil, at.child("seLinuxOptions"))
		forbid(c.SeccompProfile != nil, at.child("seccompProfile"))
		forbid(c.Capabilities != nil, at.child("capabilities"))
		forbid(c.ReadOnlyRootFilesystem != nil, at.child("readOnlyRootFilesystem"))
		forbid(c.Privileged != nil, at.child("privileged"))
		forbid(c.AllowPrivilegeEscalation != nil, at.child("allowPrivilegeEscalation"))
		forbid(c.ProcMount != nil, at.child("procMount"))
		forbid(c.RunAsUser != nil, at.child("runAsUser"))
		forbid(c.RunAsGroup != nil, at.child("runAsGroup"))
	})
}

const maxCredentialSpec = 64 << 10

func (v *podValidator) windowsOptions(o *corev1.WindowsSecurityContextOptions, at *place) {
	if o == nil {
		return
	}
	if n := o.GMSACredentialSpecName; n != nil {
		v.form(at.child("gmsaCredentialSpecName"), *n, forms.Subdomain)
	}
	if c := o.GMSACredentialSpec; c != nil && (*c == "" || len(*c) > maxCredentialSpec) {
		v.invalid(at.child("gmsaCredentialSpec"), *c, "must have between 1 byte and 64 KiB")
	}
	if n := o.RunAsUserName; n != nil {
		v.invalid(at.child("runAsUserName"), *n, windowsUser(*n)...)
	}
}

// The forms of a Windows account's parts.
const (
	notInUser      = `"/\:;|=,+*?<>@[]`
	dotsAndSpaces  = ". "
	maxUserDomain  = 256
	maxWindowsUser = 104
)

var (
	controls      = regexp.MustCompile(`[[:cntrl:]]+`)
	netBIOSDomain = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	dnsDomain     = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
)

// windowsUser says what is wrong with a Windows account, DOMAIN\user or user.
func windowsUser(name string) []string {
	switch {
	case name == "":
		return []string{"cannot be an empty string"}
	case controls.MatchString(name):
		return []string{"cannot contain control characters"}
	case strings.Count(name, `\`) > 1:
		return []string{"cannot contain more than one backslash"}
	}
	domain, user, qualified := strings.Cut(name, `\`)
	if !qualified {
		domain, user = "", name
	}
	var wrong []string
	say := func(is bool, format string, args ...any) {
		if is {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	say(len(domain) >= maxUserDomain, "the domain must be under %d characters", maxUserDomain)
	say(qualified && !netBIOSDomain.MatchString(domain) && !dnsDomain.MatchString(domain), "the domain has neither the NetBIOS nor the DNS format")
	say(user == "", "the user cannot be empty")
	say(len(user) > maxWindowsUser, "the user must not be longer than %d characters", maxWindowsUser)
	say(user != "" && strings.Trim(user, dotsAndSpaces) == "", "the user cannot contain only periods or spaces")
	say(strings.ContainsAny(user, notInUser), "the user cannot contain any of %s", notInUser)
	return wrong
}

// windowsHostProcess judges Windows' privileged containers: all or none, and in the host's network.
func (v *podValidator) windowsHostProcess() {
	var pod *bool
	if c := v.spec.SecurityContext; c != nil && c.WindowsOptions != nil {
		pod = c.WindowsOptions.HostProcess
	}
	all, privileged := 0, 0
	v.visit(func(c *corev1.Container, at *place) {
		all++
		own := pod
		if s := c.SecurityContext; s != nil && s.WindowsOptions != nil && s.WindowsOptions.HostProcess != nil {
			own = s.WindowsOptions.HostProcess
			if pod != nil && *pod != *own {
				v.invalid(at.child("securityContext").child("windowsOptions").child("hostProcess"), *own, fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *pod))
			}
		}
		if own != nil && *own {
			privileged++
		}
	})
	if privileged == 0 {
		return
	}
	if privileged != all {
		v.invalid(v.path, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
	}
	if !v.spec.HostNetwork {
		v.invalid(v.path.child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers")
	}
}
