// Package forms says whether names have the forms that Kubernetes demands, at once where they have: nearly all names
// are right, and a walk over their bytes finds so in a tenth of the time of a regular expression, without allocating.
// What is wrong with the others is said by Kubernetes' own functions, which decide.
package forms

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Label judges a DNS label (RFC 1123). Like all judges here it returns what is wrong, nil if nothing is, exactly as
// Kubernetes' function of that name does.
func Label(s string) []string {
	if IsLabel(s) {
		return nil
	}
	return validation.IsDNS1123Label(s)
}

// Subdomain judges a DNS subdomain (RFC 1123).
func Subdomain(s string) []string {
	if IsSubdomain(s) {
		return nil
	}
	return validation.IsDNS1123Subdomain(s)
}

// QualifiedName judges the key of a label: a name, perhaps behind a DNS subdomain and a slash.
func QualifiedName(s string) []string {
	if IsQualifiedName(s) {
		return nil
	}
	return validation.IsQualifiedName(s)
}

// LabelValue judges the value of a label.
func LabelValue(s string) []string {
	if IsLabelValue(s) {
		return nil
	}
	return validation.IsValidLabelValue(s)
}

// ConfigMapKey judges the key of a ConfigMap or a Secret.
func ConfigMapKey(s string) []string {
	if isName(s, maxSubdomain) { // stricter: it can't be ".."
		return nil
	}
	return validation.IsConfigMapKey(s)
}

// PortName judges the name of a container's port.
func PortName(s string) []string {
	if len(s) <= maxPortName && IsLabel(s) && !strings.Contains(s, "--") && strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz") {
		return nil
	}
	return validation.IsValidPortName(s)
}

// EnvName judges the name of an environment variable.
func EnvName(s string) []string {
	if isEnvName(s) {
		return nil
	}
	return validation.IsRelaxedEnvVarName(s)
}

const (
	maxLabel     = validation.DNS1123LabelMaxLength
	maxSubdomain = validation.DNS1123SubdomainMaxLength
	maxPortName  = 15
)

// IsLabel says whether s is a DNS label.
func IsLabel(s string) bool { return len(s) <= maxLabel && isDashed(s) }

// IsSubdomain says whether s is a DNS subdomain. Its labels may be longer than a label alone.
func IsSubdomain(s string) bool {
	if len(s) > maxSubdomain {
		return false
	}
	for {
		label, rest, more := strings.Cut(s, ".")
		if !isDashed(label) {
			return false
		}
		if !more {
			return true
		}
		s = rest
	}
}

// IsQualifiedName says whether s can be the key of a label.
func IsQualifiedName(s string) bool {
	prefix, name, prefixed := strings.Cut(s, "/")
	if !prefixed {
		return isName(s, maxLabel)
	}
	return IsSubdomain(prefix) && isName(name, maxLabel)
}

// IsLabelValue says whether s can be the value of a label.
func IsLabelValue(s string) bool { return s == "" || isName(s, maxLabel) }

// isDashed says whether s consists of small letters, digits and, in between, dashes.
func isDashed(s string) bool {
	for i := range len(s) {
		if c := s[i]; !small(c) && !digit(c) && (c != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != ""
}

// isName says whether s consists of letters, digits and, in between, dashes, underscores and dots.
func isName(s string, most int) bool {
	for i := range len(s) {
		if c := s[i]; !small(c|0x20) && !digit(c) && (c != '-' && c != '_' && c != '.' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// isEnvName says whether s consists of printable ASCII but the equals sign.
func isEnvName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '=' {
			return false
		}
	}
	return s != ""
}

func small(c byte) bool { return 'a' <= c && c <= 'z' }
func digit(c byte) bool { return '0' <= c && c <= '9' }
