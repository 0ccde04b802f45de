package storagesuite

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// TestComplete finds every test that Kubernetes' suite offers in one of the two tables, so that none is left out in
// silence, nor one that comes with a later version.
func TestComplete(t *testing.T) {
	offered := offered(t)
	require.Greater(t, len(offered), 50)
	for _, name := range offered {
		_, run := suite[name]
		_, not := left[name]
		require.True(t, run != not, "%s belongs into one of the tables suite and left", name)
	}
	require.Len(t, offered, len(suite)+len(left), "a table names what the suite has not")
}

// offered are the functions of the suite's package that begin with Run, from its source.
func offered(t *testing.T) (names []string) {
	at := runtime.FuncForPC(reflect.ValueOf(storagetesting.RunTestCreate).Pointer())
	file, _ := at.FileLine(at.Entry())
	files, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Run") {
				names = append(names, fn.Name.Name)
			}
		}
	}
	return names
}
