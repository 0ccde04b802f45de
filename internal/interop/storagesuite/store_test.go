package storagesuite

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"

	bed "github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/bedplate/bedplate/storage/seal"
)

// wrapping is what the transformer puts before each object.
const wrapping = "wrapped!"

// store is an Adapter with what the suite wants of a store beside storage.Interface.
type store struct {
	*Adapter
	t       *testing.T
	backend backend
}

// backend is a storage.Backend whose history can be cut.
type backend interface {
	bed.Backend
	Compact(ctx context.Context, rev int64) error
}

type opener func(t *testing.T) backend

func inMemory(t *testing.T) backend {
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	return b
}

// underSeal is a memory that holds nothing but ciphertexts.
func underSeal(t *testing.T) backend {
	key, err := seal.NewAESGCM("key", bytes.Repeat([]byte("k"), 32))
	require.NoError(t, err)
	s, err := seal.New(inMemory(t), seal.Config{Rules: []seal.Rule{
		{Prefixes: []string{"/pods/"}, Providers: []seal.Provider{key}},
	}})
	require.NoError(t, err)
	return s.Backend().(backend)
}

// inEtcd is a member of its own, whose history nobody else cuts.
func inEtcd(t *testing.T) backend {
	s, err := embedded.New(embedded.Config{Dir: t.TempDir(), History: -1})
	require.NoError(t, err)
	during(t, s.Run, s.Ready())
	return s.Backend().(backend)
}

// during runs something until the test ends and returns once it is ready.
func during(t *testing.T, run func(context.Context) error, ready <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	select {
	case <-ready:
	case <-time.After(time.Minute):
		require.FailNow(t, "not ready in time")
	}
}

func newStore(t *testing.T, open opener, zeroIsLatest bool) *store {
	b := open(t)
	db, err := bed.New(b, bed.Config{Prefix: "/", Wait: time.Second})
	require.NoError(t, err)
	during(t, db.Run, db.Ready())
	codec := newCodec(t)
	c := Config{
		Backend: b, DB: db, Codec: codec, Zero: bed.Cached, Linger: 3 * time.Second,
		Schema:      bed.Schema{Prefix: "/pods/", Indexes: indexes, Head: func(raw []byte) (bed.Head, error) { return head(codec, raw) }},
		Transformer: storagetesting.NewPrefixTransformer([]byte(wrapping), false),
		New:         func() runtime.Object { return &example.Pod{} },
	}
	if zeroIsLatest {
		c.Zero = 0
	}
	a, err := New(c)
	require.NoError(t, err)
	return &store{Adapter: a, t: t, backend: b}
}

func newCodec(t *testing.T) runtime.Codec {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	require.NoError(t, example.AddToScheme(scheme))
	require.NoError(t, examplev1.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme).LegacyCodec(examplev1.SchemeGroupVersion)
}

// indexes are the fields that the suite selects by.
var indexes = []string{"metadata.name", "metadata.namespace", "spec.nodeName"}

var errUnwrapped = errors.New("the object lacks its wrapping")

// head reads the stored bytes by itself: whatever transformers the suite puts in place stay out of the store.
func head(codec runtime.Codec, raw []byte) (bed.Head, error) {
	data, ok := bytes.CutPrefix(raw, []byte(wrapping))
	if !ok {
		return bed.Head{}, errUnwrapped
	}
	pod := &example.Pod{}
	if _, _, err := codec.Decode(data, nil, pod); err != nil {
		return bed.Head{}, err
	}
	h := bed.Head{UID: string(pod.UID), Index: []string{pod.Name, pod.Namespace, pod.Spec.NodeName}}
	for k, v := range pod.Labels {
		h.Labels = append(h.Labels, bed.Pair{Key: k, Value: v})
	}
	slices.SortFunc(h.Labels, func(a, b bed.Pair) int { return cmp.Compare(a.Key, b.Key) })
	return h, nil
}

// plain is a test that needs the store alone.
func plain(test func(context.Context, *testing.T, storage.Interface)) func(context.Context, *testing.T, *store) {
	return func(ctx context.Context, t *testing.T, s *store) { test(ctx, t, s) }
}

// checkStored looks at what lies in the backend.
func (s *store) checkStored(ctx context.Context, t *testing.T, key string) {
	p, err := s.backend.Range(ctx, bed.Range{Prefix: key, Limit: 1})
	require.NoError(t, err)
	require.Len(t, p.KVs, 1)
	require.Equal(t, key, p.KVs[0].Key)
	pod := &example.Pod{}
	_, _, err = s.c.Codec.Decode(bytes.TrimPrefix(p.KVs[0].Value, []byte(wrapping)), nil, pod)
	require.NoError(t, err)
	require.Empty(t, pod.ResourceVersion)
	require.Empty(t, pod.SelfLink)
}

// increase raises the revision by a write that is none of the table's, nor under the prefix that the DB watches.
func (s *store) increase(ctx context.Context, t *testing.T) int64 {
	rev, err := s.backend.Commit(ctx, bed.Txn{Then: []bed.Op{{Key: "elsewhere", Value: []byte("x")}}})
	require.NoError(t, err)
	return rev
}

// compact cuts the history, by one write more as Kubernetes does. The suite then expects that the past is gone at once.
// A table goes on serving what is in its window, which is no less true than before; so the cache is emptied, as in a
// process that starts after the compaction, and all that is left of the past comes from the backend.
func (s *store) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	rev, err := strconv.ParseInt(resourceVersion, 10, 64)
	require.NoError(t, err)
	s.increase(ctx, t)
	require.NoError(t, s.backend.Compact(ctx, rev))
	require.NoError(t, s.Reopen())
}

// checkReads checks that a page decodes no more than Kubernetes' own store would: filters look at heads.
func (s *store) checkReads(t *testing.T, _, processed uint64) {
	require.LessOrEqual(t, s.c.Transformer.(*storagetesting.PrefixTransformer).GetReadsAndReset(), processed)
}

// UpdatePrefixTransformer implements what the suite wants.
func (s *store) UpdatePrefixTransformer(change storagetesting.PrefixTransformerModifier) func() {
	changed := *s.c.Transformer.(*storagetesting.PrefixTransformer)
	return s.UpdateTransformer(func(value.Transformer) value.Transformer { return change(&changed) })
}

// UpdateTransformer implements what the suite wants.
func (s *store) UpdateTransformer(change storagetesting.TransformerModifier) func() {
	before := s.Transformer()
	s.UseTransformer(change(before))
	return func() { s.UseTransformer(before) }
}

// setFailing makes objects unreadable, and readable again.
func (s *store) setFailing(failing bool) {
	s.UseTransformer(s.c.Transformer)
	if failing {
		s.UseTransformer(unreadable{s.c.Transformer})
	}
}

type unreadable struct{ value.Transformer }

func (unreadable) TransformFromStorage(context.Context, []byte, value.Context) ([]byte, bool, error) {
	return nil, false, errors.New("unreadable")
}
