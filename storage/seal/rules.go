package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/bedplate/bedplate/storage"
)

// Rule says which keys are sealed, and how. A key belongs to the first rule with a prefix of it; a key of no rule is
// Identity's.
type Rule struct {
	// Prefixes are of absolute keys, and end in "/"; "" is all keys.
	Prefixes []string
	// Providers: the first seals, all of them open. Those with the same Prefix are tried in order.
	Providers []Provider
}

func (r *Rule) validate() error {
	if len(r.Prefixes) == 0 {
		return errors.New("it has no prefix")
	}
	for _, p := range r.Prefixes {
		if p != "" && !strings.HasSuffix(p, "/") {
			return fmt.Errorf("its prefix %q does not end in /", p)
		}
	}
	if len(r.Providers) == 0 {
		return errors.New("it has no provider")
	}
	for i, p := range r.Providers {
		switch {
		case p == nil:
			return fmt.Errorf("its provider %d is nil", i)
		case p.Prefix() == "" && p != Identity, p.Prefix() != "" && !strings.HasPrefix(p.Prefix(), reserved):
			return fmt.Errorf("its provider %d has the prefix %q, which does not begin with %s", i, p.Prefix(), reserved)
		}
	}
	if p, ok := r.Providers[0].(*KubernetesSecretbox); ok {
		return fmt.Errorf("its first provider %s only reads", p)
	}
	return nil
}

func (r *Rule) has(key string) bool {
	return slices.ContainsFunc(r.Prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

// open returns the plain value, and whether sealing it anew would be of no use.
func (r *Rule) open(ctx context.Context, key string, stored []byte) (plain []byte, current bool, err error) {
	var later, refused error
	for i, p := range r.Providers {
		prefix := p.Prefix()
		if !hasPrefix(stored, prefix) || prefix == "" && hasPrefix(stored, reserved) {
			continue
		}
		plain, stale, err := p.Open(ctx, key, stored)
		switch {
		case err == nil && plain == nil:
			return []byte{}, i == 0 && !stale, nil
		case err == nil:
			return plain, i == 0 && !stale, nil
		case errors.Is(err, ErrUnavailable) || ctx.Err() != nil:
			later = fmt.Errorf("open %s with %s: %w", key, prefix, err)
		case refused == nil:
			refused = fmt.Errorf("sealed by %s: %w", prefix, err)
		}
	}
	switch {
	case later != nil:
		return nil, false, &laterError{later}
	case refused != nil:
		return nil, false, refused
	}
	return nil, false, unknown(stored)
}

// laterError says that a value could not be opened for a reason that is not the value's.
type laterError struct{ error }

func (e *laterError) Unwrap() error { return e.error }

func isLater(err error) bool {
	var later *laterError
	return errors.As(err, &later)
}

var errPlain = errors.New("it is plain, and no identity provider may read it")

// unknown says what no provider of the rule opens, and shows of it the name of its form and key at most.
func unknown(stored []byte) error {
	if !hasPrefix(stored, reserved) {
		return errPlain
	}
	const fields = 5 // k8s:enc:<form>:<version>:<name>:
	var colons, end int
	for i, c := range stored[:min(len(stored), maxName+64)] {
		if c <= ' ' || c > '~' {
			break
		}
		if c == ':' {
			colons, end = colons+1, i+1
		}
		if colons == fields {
			break
		}
	}
	return fmt.Errorf("sealed by %s, which is no provider's", stored[:end])
}

// rules are the rules of one time.
type rules struct {
	list    []Rule
	refused atomic.Bool // a value could not be opened
	warned  atomic.Bool // of a key that is wearing out

	// Guarded by Sealed.mu:
	commits int           // under way
	idle    chan struct{} // closed when others have taken its place and no commit is under way
}

func newRules(list []Rule) (*rules, error) {
	r := &rules{idle: make(chan struct{})}
	for i, rule := range list {
		if err := rule.validate(); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i, err)
		}
		r.list = append(r.list, Rule{slices.Clone(rule.Prefixes), slices.Clone(rule.Providers)})
	}
	return r, nil
}

var unsealed = Rule{Prefixes: []string{""}, Providers: []Provider{Identity}}

// of returns the rule of a key.
func (r *rules) of(key string) *Rule {
	for i := range r.list {
		if r.list[i].has(key) {
			return &r.list[i]
		}
	}
	return &unsealed
}

// seal returns the writes as they are to be stored; those given stay as they are.
func (r *rules) seal(ctx context.Context, ops []storage.Op) ([]storage.Op, error) {
	out := slices.Clone(ops)
	for i, op := range out {
		if op.Value == nil {
			continue
		}
		value, err := r.of(op.Key).Providers[0].Seal(ctx, op.Key, op.Value)
		if err != nil {
			return nil, fmt.Errorf("seal %s: %w", op.Key, err)
		}
		out[i].Value = value
	}
	return out, nil
}

// open returns the keys with their values opened; those given stay as they are. What cannot be opened is marked.
func (r *rules) open(ctx context.Context, kvs []storage.KV) (out []storage.KV, refused bool, err error) {
	out = slices.Clone(kvs)
	for i := range out {
		kv := &out[i]
		if kv.Value == nil || kv.Corrupt != nil {
			continue
		}
		plain, _, err := r.of(kv.Key).open(ctx, kv.Key, kv.Value)
		switch {
		case err == nil:
			kv.Value = plain
		case isLater(err):
			return nil, false, err
		default:
			kv.Value = []byte{}
			kv.Corrupt = &storage.CorruptError{Key: kv.Key, Rev: kv.Rev, Err: err}
			refused = true
		}
	}
	return out, refused, nil
}

// cover returns the prefixes of all rules, less those that lie in another.
func (r *rules) cover() []string {
	var all []string
	for _, rule := range r.list {
		all = append(all, rule.Prefixes...)
	}
	slices.Sort(all)
	var out []string
	for _, p := range all {
		if len(out) == 0 || !strings.HasPrefix(p, out[len(out)-1]) {
			out = append(out, p)
		}
	}
	return out
}
