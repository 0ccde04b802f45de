package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	kmsv2 "k8s.io/kms/apis/v2"

	"github.com/bedplate/bedplate/storage/seal"
)

const (
	// A plugin is asked for its key ID each minute, or each 10 s while it is unwell. Writes go on by the seed that
	// there is for 3 min after it was last well.
	wellEvery   = time.Minute
	unwellEvery = 10 * time.Second
	seedLife    = 3 * time.Minute
	seedSize    = 32
	// maxSeeds is how many opened seeds are remembered. There is one for each start of each writer in between two
	// rewrites.
	maxSeeds = 4096
)

// writing is what values are sealed by now.
type writing struct {
	*dek
	keyID string
	tail  []byte // the envelope, less its data
	until time.Time
}

// kms is a provider that has its keys from a plugin. Stored: k8s:enc:kms:v2:<name>:, EncryptedObject.
type kms struct {
	plugin
	prefix  string
	metrics *metrics
	conn    *grpc.ClientConn
	client  kmsv2.KeyManagementServiceClient
	now     func() time.Time

	state   atomic.Pointer[writing]
	calls   singleflight.Group
	mu      sync.Mutex
	seeds   map[[sha256.Size]byte]*dek
	order   [][sha256.Size]byte // of seeds, the oldest first
	version string
	health  error
}

var errUnasked = errors.New("the plugin has not been asked yet")

func newKMS(p plugin, m *metrics) (*kms, error) {
	prefix, err := prefixOf("kms", "v2", p.Name)
	if err != nil {
		return nil, err
	}
	k := &kms{plugin: p, prefix: prefix, metrics: m, seeds: map[[sha256.Size]byte]*dek{}, health: errUnasked, now: time.Now}
	u, err := url.Parse(p.Endpoint)
	if err != nil {
		return nil, err
	}
	path := u.Path
	if strings.HasPrefix(path, "/@") { // Linux' sockets without a file
		path = path[1:]
	}
	k.conn, err = grpc.NewClient("passthrough:///"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)), grpc.WithAuthority("localhost"), grpc.WithUnaryInterceptor(k.observe),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", p.Name, err)
	}
	k.client = kmsv2.NewKeyManagementServiceClient(k.conn)
	return k, nil
}

func (k *kms) observe(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	start := time.Now()
	err := call(ctx, method, req, reply, cc, opts...)
	k.metrics.called(k.Name, method, status.Code(err).String(), time.Since(start))
	return err
}

func (k *kms) Prefix() string   { return k.prefix }
func (k *kms) String() string   { return k.prefix }
func (k *kms) GoString() string { return k.prefix }

func (k *kms) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, k.Timeout.Duration)
}

// ask asks the plugin how it is and which key it has, and makes a new seed if that is another one.
func (k *kms) ask(ctx context.Context) error {
	err := k.asked(ctx)
	if err != nil {
		err = fmt.Errorf("kms plugin %s: %w", k.Name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.health = err
	return err
}

func (k *kms) asked(ctx context.Context) error {
	until := k.now().Add(seedLife)
	call, cancel := k.limited(ctx)
	defer cancel()
	st, err := k.client.Status(call, &kmsv2.StatusRequest{})
	if err != nil {
		return fmt.Errorf("ask for its status: %w", err)
	}
	if err := validateKeyID(st.KeyId); err != nil {
		k.metrics.badKeyID(k.Name, st.KeyId)
		return err
	}
	k.metrics.statusKeyID(k.Name, st.KeyId)
	errs := []error{k.rotate(ctx, st.KeyId, until)}
	if st.Healthz != "ok" {
		errs = append(errs, fmt.Errorf("it says of its health %q", st.Healthz))
	}
	if st.Version != "v2" && st.Version != "v2beta1" || k.version != "" && k.version != st.Version {
		errs = append(errs, fmt.Errorf("it has the version %q, which is not v2, or was another before", st.Version))
	} else {
		k.version = st.Version
	}
	return errors.Join(errs...)
}

// rotate sees to it that the present seed is sealed by the key with an ID.
func (k *kms) rotate(ctx context.Context, id string, until time.Time) error {
	if w := k.state.Load(); w != nil && w.keyID == id {
		next := *w
		next.until = until
		k.state.Store(&next)
		return nil
	}
	seed := make([]byte, seedSize)
	rand.Read(seed) // does not fail
	call, cancel := k.limited(ctx)
	defer cancel()
	out, err := k.client.Encrypt(call, &kmsv2.EncryptRequest{Plaintext: seed, Uid: newUID()})
	if err != nil {
		return fmt.Errorf("seal a seed: %w", err)
	}
	if out.KeyId != id {
		return fmt.Errorf("its status has the key %s, and it seals by %s", hash(id), hash(out.KeyId))
	}
	e := &envelope{data: []byte{0}, keyID: out.KeyId, source: out.Ciphertext, annotations: out.Annotations, kind: kindSeed}
	if err := e.validate(); err != nil {
		return err
	}
	d, err := newDEK(kindSeed, seed)
	if err != nil {
		return err
	}
	k.remember(e.sourceKey(), d)
	k.state.Store(&writing{dek: d, keyID: id, tail: e.appendHead(nil), until: until})
	return nil
}

func (k *kms) remember(source [sha256.Size]byte, d *dek) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, have := k.seeds[source]; have {
		return
	}
	if len(k.order) == maxSeeds {
		delete(k.seeds, k.order[0])
		k.order = k.order[1:]
	}
	k.seeds[source], k.order = d, append(k.order, source)
	k.metrics.sources(k.Name, len(k.seeds))
}

func (k *kms) remembered(source [sha256.Size]byte) *dek {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seeds[source]
}

// check is the plugin's health as of when it was last asked.
func (k *kms) check() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.health
}

// Seal implements seal.Provider.
func (k *kms) Seal(_ context.Context, key string, plain []byte) ([]byte, error) {
	w := k.state.Load()
	if w == nil || k.now().After(w.until) {
		return nil, fmt.Errorf("%w: plugin %s has given no seed, or was not well for too long", seal.ErrUnavailable, k.Name)
	}
	data, err := w.seal(key, plain)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(k.prefix)+len(data)+len(w.tail)+8)
	out = append(out, k.prefix...)
	out = (&envelope{data: data}).appendData(out)
	k.metrics.used(toStorage, k.Name, w.keyID)
	return append(out, w.tail...), nil
}

// Open implements seal.Provider. Stale is what another key than the present one sealed.
func (k *kms) Open(ctx context.Context, key string, sealed []byte) ([]byte, bool, error) {
	e, err := openEnvelope(sealed[len(k.prefix):])
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", seal.ErrNotAuthentic, err)
	}
	d, err := k.source(ctx, e)
	if err != nil {
		return nil, false, err
	}
	plain, err := d.open(key, e.data)
	if err != nil {
		return nil, false, err
	}
	k.metrics.used(fromStorage, k.Name, e.keyID)
	w := k.state.Load()
	return plain, w == nil || w.keyID != e.keyID || e.kind != kindSeed, nil
}

// source opens the key of an envelope, once for all who want it.
func (k *kms) source(ctx context.Context, e *envelope) (*dek, error) {
	id := e.sourceKey()
	if d := k.remembered(id); d != nil {
		return d, nil
	}
	got, err, _ := k.calls.Do(string(id[:]), func() (any, error) {
		call, cancel := k.limited(context.WithoutCancel(ctx)) // others wait for it, too
		defer cancel()
		out, err := k.client.Decrypt(call, &kmsv2.DecryptRequest{Ciphertext: e.source, Uid: newUID(), KeyId: e.keyID, Annotations: e.annotations})
		if err != nil {
			return nil, refusal(err)
		}
		d, err := newDEK(e.kind, out.Plaintext)
		if err != nil {
			return nil, err
		}
		k.remember(id, d)
		return d, nil
	})
	if err != nil {
		return nil, fmt.Errorf("plugin %s: open a key: %w", k.Name, err)
	}
	return got.(*dek), nil
}

// refusal tells what the plugin will always refuse from what it may do later.
func refusal(err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.OutOfRange, codes.DataLoss, codes.PermissionDenied:
		return err
	}
	return fmt.Errorf("%w: %w", seal.ErrUnavailable, err)
}
