package library

import (
	"fmt"
	"net/url"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// URLType is the type of [URL].
var URLType = cel.ObjectType("kubernetes.URL")

// URL is a parsed URL as a value of CEL.
type URL struct{ *url.URL }

// ConvertToNative gives the *url.URL or its text.
func (u URL) ConvertToNative(t reflect.Type) (any, error) {
	return toNative(t, "URL", u.URL, u.String())
}

// ConvertToType gives the value or its type.
func (u URL) ConvertToType(t ref.Type) ref.Val { return toType(u, URLType, t) }

// Equal compares the texts.
func (u URL) Equal(other ref.Val) ref.Val {
	o, ok := other.(URL)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Bool(u.String() == o.String())
}

// Type is [URLType].
func (u URL) Type() ref.Type { return URLType }

// Value is the *url.URL.
func (u URL) Value() any { return u.URL }

// toNative is ConvertToNative of a value that is also a text.
func toNative[T any](t reflect.Type, name string, v T, text string) (any, error) {
	switch {
	case reflect.TypeFor[T]().AssignableTo(t):
		return v, nil
	case reflect.TypeFor[string]().AssignableTo(t):
		return text, nil
	}
	return nil, fmt.Errorf("type conversion error from '%s' to '%v'", name, t)
}

// toType is ConvertToType of a value that converts to nothing but itself.
func toType(v ref.Val, own *cel.Type, t ref.Type) ref.Val {
	switch {
	case t.TypeName() == own.TypeName():
		return v
	case t == types.TypeType:
		return own
	}
	return types.NewErr("type conversion error from '%s' to '%s'", own, t)
}

func urls() *lib {
	part := func(name, id string, f func(*url.URL) string) cel.EnvOption {
		return cel.Function(name, member(id, URLType, cel.StringType, native(func(u *url.URL) ref.Val {
			return types.String(f(u))
		})))
	}
	return &lib{name: "kubernetes.urls", options: []cel.EnvOption{
		cel.Function("url", global("string_to_url", cel.StringType, URLType, native(parseURL))),
		cel.Function("isURL", global("is_url_string", cel.StringType, cel.BoolType, native(func(s string) ref.Val {
			_, err := url.ParseRequestURI(s)
			return types.Bool(err == nil)
		}))),
		part("getScheme", "url_get_scheme", func(u *url.URL) string { return u.Scheme }),
		part("getHost", "url_get_host", func(u *url.URL) string { return u.Host }),
		part("getHostname", "url_get_hostname", (*url.URL).Hostname),
		part("getPort", "url_get_port", (*url.URL).Port),
		part("getEscapedPath", "url_get_escaped_path", (*url.URL).EscapedPath),
		cel.Function("getQuery", member("url_get_query", URLType,
			cel.MapType(cel.StringType, cel.ListType(cel.StringType)), native(queryOf))),
	}}
}

// parseURL takes an absolute URI or an absolute path. ParseRequestURI decides; it takes a fragment for a part of the
// path or query, so what is kept is what Parse reads.
func parseURL(s string) ref.Val {
	_, err := url.ParseRequestURI(s)
	if err != nil {
		return types.NewErr("URL parse error during conversion from string: %v", err)
	}
	u, err := url.Parse(s)
	if err != nil {
		return types.NewErr("URL parse error during conversion from string: %v", err)
	}
	return URL{u}
}

func queryOf(u *url.URL) ref.Val {
	found := map[ref.Val]ref.Val{}
	for k, v := range u.Query() {
		found[types.String(k)] = types.NewStringList(types.DefaultTypeAdapter, v)
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, found)
}
