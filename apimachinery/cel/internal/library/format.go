package library

import (
	"fmt"
	"net/url"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
)

// FormatType is the type of [Format].
var FormatType = cel.ObjectType("kubernetes.NamedFormat")

// Format is a named form of text as a value of CEL.
type Format struct {
	Name  string
	check func(string) []string
	// regexSize stands for the work of a check, in characters of a regular expression that would do it.
	regexSize int
}

// ConvertToNative is refused.
func (f *Format) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("type conversion error from 'Format' to '%v'", t)
}

// ConvertToType gives the value or its type.
func (f *Format) ConvertToType(t ref.Type) ref.Val { return toType(f, FormatType, t) }

// Equal compares the names.
func (f *Format) Equal(other ref.Val) ref.Val {
	o, ok := other.(*Format)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Bool(f.Name == o.Name)
}

// Type is [FormatType].
func (f *Format) Type() ref.Type { return FormatType }

// Value is the format itself.
func (f *Format) Value() any { return f }

func formats() *lib {
	all := knownFormats()
	options := []cel.EnvOption{
		cel.Function("validate", member2("format-validate", FormatType, cel.StringType,
			cel.OptionalType(cel.ListType(cel.StringType)), native2(func(f *Format, s string) ref.Val {
				if wrong := f.check(s); len(wrong) > 0 {
					return types.OptionalOf(types.NewStringList(types.DefaultTypeAdapter, wrong))
				}
				return types.OptionalNone
			}))),
		cel.Function("format.named", global("format-named", cel.StringType, cel.OptionalType(FormatType),
			native(func(name string) ref.Val {
				if f, ok := all[name]; ok {
					return types.OptionalOf(f)
				}
				return types.OptionalNone
			}))),
	}
	for name, f := range all {
		id := "format." + name
		options = append(options, cel.Function(id, cel.Overload(id, nil, FormatType,
			cel.FunctionBinding(func(...ref.Val) ref.Val { return f }))))
	}
	return &lib{name: "kubernetes.format", options: options}
}

func knownFormats() map[string]*Format {
	name := func(f func(string, bool) []string, prefix bool) func(string) []string {
		return func(s string) []string { return f(s, prefix) }
	}
	known := func(format, otherwise string) func(string) []string {
		return func(s string) []string {
			if strfmt.Default.Validates(format, s) {
				return nil
			}
			return []string{otherwise}
		}
	}
	return map[string]*Format{
		"dns1123Label":           {"DNS1123Label", name(validation.NameIsDNSLabel, false), 30},
		"dns1123Subdomain":       {"DNS1123Subdomain", name(validation.NameIsDNSSubdomain, false), 60},
		"dns1035Label":           {"DNS1035Label", name(validation.NameIsDNS1035Label, false), 30},
		"dns1123LabelPrefix":     {"DNS1123LabelPrefix", name(validation.NameIsDNSLabel, true), 30},
		"dns1123SubdomainPrefix": {"DNS1123SubdomainPrefix", name(validation.NameIsDNSSubdomain, true), 60},
		"dns1035LabelPrefix":     {"DNS1035LabelPrefix", name(validation.NameIsDNS1035Label, true), 30},
		"qualifiedName":          {"QualifiedName", utilvalidation.IsQualifiedName, 60},
		"labelValue":             {"LabelValue", utilvalidation.IsValidLabelValue, 40},
		"uri":                    {"URI", checkURI, 1103},
		"uuid":                   {"uuid", known("uuid", "does not match the UUID format"), len(strfmt.UUIDPattern)},
		"byte":                   {"byte", known("byte", "invalid base64"), 84},
		"date":                   {"date", known("date", "invalid date"), len(strfmt.DateTimePattern)},
		"datetime":               {"datetime", known("datetime", "invalid datetime"), len(strfmt.DateTimePattern)},
	}
}

func checkURI(s string) []string {
	if _, err := url.ParseRequestURI(s); err != nil {
		return []string{err.Error()}
	}
	return nil
}
