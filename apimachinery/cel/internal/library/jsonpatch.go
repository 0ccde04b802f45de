package library

import (
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

func jsonPatch() *lib {
	escape := strings.NewReplacer("/", "~1", "~", "~0")
	return &lib{name: "kubernetes.jsonpatch", options: []cel.EnvOption{
		cel.Function("jsonpatch.escapeKey", global("string_jsonpatch_escapeKey_string", cel.StringType, cel.StringType,
			native(func(s string) ref.Val { return types.String(escape.Replace(s)) }))),
	}}
}
