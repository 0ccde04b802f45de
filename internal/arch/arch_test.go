package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/bedplate/bedplate"

// A room is a folder, with all below it that is no room of its own, and what its non-test files may import.
type room struct {
	folder string
	// own are the folders of this module that it may import, each with all below it ("-x" leaves x out).
	own []string
	// foreign are prefixes of the modules that it may import beside the standard library.
	foreign []string
}

var (
	k8s     = []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/utils", "sigs.k8s.io/"}
	etcd    = []string{"go.etcd.io/", "go.uber.org/zap", "google.golang.org/grpc", "google.golang.org/protobuf"}
	machine = []string{"golang.org/x/sys"}
)

// house is the table of docs/ARCHITECTURE.md, the most specific folder first where one lies in another.
var house = []room{
	{"storage/etcd/care", []string{"storage"}, slices.Concat(etcd, []string{"github.com/prometheus/"})},
	{"storage/etcd", []string{"storage"}, etcd},
	{"storage/seal/kubernetes", []string{"storage"}, []string{"golang.org/x/crypto", "golang.org/x/sync", "google.golang.org/grpc", "google.golang.org/protobuf/encoding/protowire", "github.com/prometheus/", "k8s.io/kms/apis/v2", "sigs.k8s.io/yaml"}},
	{"storage/seal", []string{"storage"}, []string{"golang.org/x/crypto"}},
	{"storage/storetest", []string{"storage"}, []string{"github.com/stretchr/", "pgregory.net/rapid", "github.com/anishathalye/porcupine", "go.uber.org/goleak"}},
	{"storage/memory", []string{"storage"}, []string{"github.com/tidwall/btree"}},
	{"storage", nil, []string{"github.com/tidwall/btree"}},

	{"apimachinery/openapi/gen", nil, nil},
	{"apimachinery/server/crd", []string{"storage", "apimachinery", "-apimachinery/kinds"}, slices.Concat(k8s, []string{"k8s.io/client-go/util/jsonpath"})},
	{"apimachinery/apitest", []string{"storage", "-storage/etcd", "apimachinery", "admission", "rbac", "reconcile"}, slices.Concat(k8s, []string{"k8s.io/client-go/rest", "golang.org/x/sync"})},
	{"apimachinery/server/aggregate", []string{"storage", "apimachinery", "-apimachinery/kinds"}, slices.Concat(k8s, []string{"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"})},
	{"apimachinery/server/audit", []string{"apimachinery", "-apimachinery/kinds", "-apimachinery/client"}, slices.Concat(k8s, []string{"k8s.io/apiserver/pkg/apis/audit/v1", "github.com/prometheus/", "golang.org/x/sync", "golang.org/x/time", "gopkg.in/natefinch/lumberjack.v2"})},
	{"apimachinery/server", []string{"storage", "apimachinery", "-apimachinery/kinds"}, slices.Concat(k8s, []string{"github.com/klauspost/compress/gzip", "github.com/prometheus/", "golang.org/x/net", "golang.org/x/sync", "gopkg.in/evanphx/json-patch.v4", "k8s.io/kube-openapi", "go.opentelemetry.io/otel/"})},
	{"apimachinery/client/clienttest", []string{"apimachinery", "storage"}, slices.Concat(k8s, []string{"github.com/stretchr/"})},
	{"apimachinery/client/kubeconfig", []string{"apimachinery"}, slices.Concat(k8s, []string{"k8s.io/client-go/rest", "k8s.io/client-go/tools/clientcmd"})},
	{"apimachinery/client", []string{"apimachinery", "-apimachinery/server", "-apimachinery/kinds"}, slices.Concat(k8s, []string{"golang.org/x/net", "github.com/stretchr/"})},
	{"apimachinery/cel", []string{"apimachinery", "-apimachinery/server", "-apimachinery/client", "-apimachinery/kinds"}, slices.Concat(k8s, []string{"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "k8s.io/kube-openapi/pkg/validation/strfmt", "github.com/google/cel-go", "github.com/blang/semver/v4"})},
	{"apimachinery/kinds", []string{"apimachinery", "-apimachinery/server", "-apimachinery/client"}, slices.Concat(k8s, []string{"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1", "k8s.io/client-go/util/jsonpath"})},
	{"apimachinery/structural/gen", []string{"apimachinery"}, slices.Concat(k8s, []string{"k8s.io/client-go/applyconfigurations", "k8s.io/client-go/kubernetes/scheme"})},
	{"apimachinery", []string{"apimachinery", "-apimachinery/server", "-apimachinery/client", "-apimachinery/kinds"}, slices.Concat(k8s, []string{"k8s.io/client-go/util/jsonpath", "k8s.io/kube-openapi", "gopkg.in/evanphx/json-patch.v4", "github.com/go-json-experiment/json", "github.com/klauspost/compress/gzip"})},

	{"reconcile/informer", []string{"apimachinery", "-apimachinery/server", "-apimachinery/kinds", "storage"}, slices.Concat(k8s, []string{"github.com/tidwall/btree", "github.com/go-json-experiment/json/jsontext", "github.com/stretchr/"})},
	{"reconcile", []string{"reconcile", "apimachinery", "-apimachinery/server", "-apimachinery/kinds", "storage"}, slices.Concat(k8s, []string{"github.com/prometheus/"})},
	{"admission/webhook", []string{"admission", "apimachinery", "-apimachinery/server", "-apimachinery/kinds"}, slices.Concat(k8s, []string{"github.com/prometheus/"})},
	{"admission/policy", []string{"admission", "apimachinery", "-apimachinery/server", "-apimachinery/kinds"}, slices.Concat(k8s, []string{"github.com/prometheus/"})},
	{"admission", []string{"admission", "apimachinery", "-apimachinery/server", "-apimachinery/kinds", "reconcile/informer"}, k8s},
	{"rbac", []string{"rbac", "apimachinery", "-apimachinery/server", "-apimachinery/kinds", "reconcile/informer"}, slices.Concat(k8s, []string{"github.com/golang-jwt/jwt/v5"})},

	{"scheduling/pods", []string{"scheduling", "reconcile", "apimachinery", "-apimachinery/server", "-apimachinery/kinds"}, k8s},
	{"scheduling/schedulingtest", []string{"scheduling"}, []string{"github.com/stretchr/", "pgregory.net/rapid"}},
	{"scheduling", nil, nil},

	{"runtime/node", []string{"runtime", "reconcile", "apimachinery", "-apimachinery/server", "netplug", "volume"}, slices.Concat(k8s, machine)},
	{"runtime/agent", []string{"runtime", "reconcile", "apimachinery", "-apimachinery/server", "-apimachinery/kinds"}, slices.Concat(k8s, machine, []string{"github.com/opencontainers/", "github.com/coder/websocket", "github.com/moby/spdystream", "golang.org/x/sync"})},
	{"runtime/image", []string{"runtime/image"}, slices.Concat(machine, []string{"github.com/google/go-containerregistry", "github.com/opencontainers/", "github.com/klauspost/compress", "github.com/cyphar/filepath-securejoin", "golang.org/x/sync", "github.com/stretchr/"})},
	{"runtime", []string{"runtime", "-runtime/image", "-runtime/agent", "-runtime/node"}, slices.Concat(machine, []string{"github.com/opencontainers/", "github.com/vishvananda/", "github.com/moby/profiles/seccomp", "github.com/moby/sys/", "github.com/cyphar/filepath-securejoin", "github.com/sirupsen/logrus", "github.com/stretchr/", "golang.org/x/sync"})},

	{"netplug/dns", []string{"reconcile", "apimachinery", "-apimachinery/server", "-apimachinery/kinds"}, slices.Concat(k8s, []string{"github.com/miekg/dns"})},
	{"netplug/hosts", nil, slices.Concat(machine, []string{"github.com/vishvananda/", "github.com/google/nftables"})},

	{"netplug/proxy", []string{"reconcile/informer", "apimachinery", "-apimachinery/server", "-apimachinery/kinds"}, slices.Concat(k8s, machine, []string{"github.com/google/nftables", "github.com/vishvananda/", "github.com/mdlayher/netlink"})},
	{"netplug/overlay", []string{"reconcile/informer"}, slices.Concat(k8s, machine, []string{"github.com/vishvananda/"})},
	{"netplug", nil, slices.Concat(k8s, machine, []string{"github.com/google/nftables", "github.com/vishvananda/"})},

	{"volume", []string{"volume", "reconcile", "apimachinery", "-apimachinery/server", "-apimachinery/kinds"}, slices.Concat(k8s, machine, []string{"github.com/opencontainers/runtime-spec", "github.com/cyphar/filepath-securejoin"})},

	{"examples", []string{"."}, []string{""}},
	{"internal", []string{"."}, []string{""}},
	{".", []string{".", "-runtime", "-netplug", "-examples"}, []string{""}},
}

// TestHouse fails when a file imports what its folder may not: arrows point down only, siblings don't know each
// other, and a user of one part does not pay for its neighbours.
func TestHouse(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	files := 0
	for file, imports := range parseAll(t, root) {
		files++
		r := roomOf(path.Dir(file))
		for _, i := range imports {
			if !r.may(path.Dir(file), i) {
				t.Errorf("%s imports %s: the room %q may not (see internal/arch)", file, i, r.folder)
			}
		}
	}
	require.NotZero(t, files)
}

func parseAll(t *testing.T, root string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if name := d.Name(); rel != "." && (name == "testdata" || name[0] == '.' || nested(p)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		found[rel] = nil
		for _, i := range f.Imports {
			s, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			found[rel] = append(found[rel], s)
		}
		return nil
	})
	require.NoError(t, err)
	return found
}

// nested says whether a folder is a module of its own.
func nested(dir string) bool {
	m, _ := filepath.Glob(filepath.Join(dir, "go.mod"))
	return len(m) > 0
}

func roomOf(folder string) room {
	best := house[len(house)-1]
	for _, r := range house {
		if under(folder, r.folder) && (best.folder == "." || len(r.folder) > len(best.folder)) {
			best = r
		}
	}
	return best
}

func under(p, folder string) bool {
	return folder == "." || p == folder || strings.HasPrefix(p, folder+"/")
}

func (r room) may(folder, imported string) bool {
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		return r.mayOwn(folder, own)
	}
	if imported == module {
		return r.mayOwn(folder, ".")
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true // the standard library, and C
	}
	return slices.ContainsFunc(r.foreign, func(prefix string) bool { return strings.HasPrefix(imported, prefix) })
}

func (r room) mayOwn(folder, own string) bool {
	if under(own, r.folder) && roomOf(own).folder == r.folder {
		return true
	}
	allowed, length := false, -1
	for _, o := range r.own {
		name, no := strings.CutPrefix(o, "-")
		if under(own, name) && len(name) > length {
			allowed, length = !no, len(name)
		}
	}
	return allowed
}
