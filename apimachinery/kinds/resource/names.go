package resource

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

// ValidateDriver judges the name of a driver.
func ValidateDriver(name string, at *field.Path) field.ErrorList {
	const most = 63
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > most {
		errs = append(errs, field.TooLong(at, "", most))
	}
	return append(errs, invalid(at, name, forms.Subdomain(strings.ToLower(name)))...)
}

// ValidatePool judges the name of a pool: DNS subdomains, separated by slashes.
func ValidatePool(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > resourcev1.PoolNameMaxLength {
		errs = append(errs, field.TooLong(at, "", resourcev1.PoolNameMaxLength))
	}
	for part := range strings.SplitSeq(name, "/") {
		errs = append(errs, invalid(at, part, forms.Subdomain(part))...)
	}
	return errs
}

// ValidateDevice judges the name of a device.
func ValidateDevice(name string, at *field.Path) field.ErrorList { return validateLabel(name, at) }

func validateLabel(name string, at *field.Path) field.ErrorList {
	return invalid(at, name, forms.Label(name))
}

func validateLabelName(name string, at *field.Path) field.ErrorList {
	return invalid(at, name, forms.QualifiedName(name))
}

func validateNode(name string, at *field.Path) field.ErrorList {
	return invalid(at, name, validation.NameIsDNSSubdomain(name, false))
}

func validateClass(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return invalid(at, name, forms.Subdomain(name))
}

// validateQualified judges the name of an attribute or capacity, perhaps behind a domain and a slash.
func validateQualified(name string, at *field.Path) field.ErrorList {
	domain, id, ok := strings.Cut(name, "/")
	if !ok {
		return validateIdentifier(name, at)
	}
	if strings.Contains(id, "/") {
		return nil // as Kubernetes has it
	}
	var errs field.ErrorList
	if domain == "" {
		errs = append(errs, field.Invalid(at, "", "the domain must not be empty"))
	} else {
		errs = append(errs, ValidateDriver(domain, at)...)
	}
	if id == "" {
		return append(errs, field.Invalid(at, "", "the name must not be empty"))
	}
	return append(errs, validateIdentifier(id, at)...)
}

// validateFull judges a name that must have a domain.
func validateFull(name string, at *field.Path) field.ErrorList {
	errs := validateQualified(name, at)
	if !strings.Contains(name, "/") {
		errs = append(errs, field.Invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash"))
	}
	return errs
}

func validateIdentifier(id string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(id) > resourcev1.DeviceMaxIDLength {
		errs = append(errs, field.TooLong(at, "", resourcev1.DeviceMaxIDLength))
	}
	return append(errs, invalid(at, id, utilvalidation.IsCIdentifier(id))...)
}

// validateUID judges a UUID as RFC 4122 writes it.
func validateUID(uid string, at *field.Path) field.ErrorList {
	ok := len(uid) == 36
	for i := 0; ok && i < len(uid); i++ {
		c := uid[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			ok = c == '-'
			continue
		}
		ok = '0' <= c && c <= '9' || 'a' <= c && c <= 'f'
	}
	if ok {
		return nil
	}
	return field.ErrorList{field.Invalid(at, uid, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")}
}

// extendedResource says whether pods may ask for a device by that name as if it were a resource of a device plugin.
func extendedResource(name string) bool {
	native := !strings.Contains(name, "/") || strings.Contains(name, "kubernetes.io/")
	return !native && !strings.HasPrefix(name, "requests.") && len(forms.QualifiedName("requests."+name)) == 0
}
