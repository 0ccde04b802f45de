package storagesuite

import (
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/storage"

	bed "github.com/bedplate/bedplate/storage"
)

// GetList implements storage.Interface.
func (a *Adapter) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	key, err := a.key(key, opts.Recursive)
	if err != nil {
		return err
	}
	exact, from, err := storage.ValidateListOptions(a.abs(key), a.versioner, opts)
	if err != nil {
		return err
	}
	at := exact
	if exact == 0 && from == "" {
		if at, err = a.revision(opts.ResourceVersion); err != nil {
			return err
		}
	}
	snap, err := a.table.Load().Snapshot(ctx, at, exact > 0)
	if err != nil {
		return a.listFailed(key, from, at, err)
	}
	p := page{a: a, opts: opts}
	err = p.read(ctx, snap, key, strings.TrimPrefix(from, a.c.Schema.Prefix))
	if setErr := meta.SetList(list, p.items); err == nil { // what was read is handed out beside an error
		err = setErr
	}
	if err != nil {
		return err
	}
	token, remaining, err := storage.PrepareContinueToken(a.abs(p.last), a.abs(key), snap.Rev(), p.count, p.more, opts)
	if err != nil {
		return err
	}
	return a.versioner.UpdateList(list, uint64(snap.Rev()), token, remaining)
}

// page is what one call of GetList returns.
type page struct {
	a     *Adapter
	opts  storage.ListOptions
	items []runtime.Object
	last  string // the key of the last item
	more  bool   // something follows
	count int64  // of items, with what follows
}

func (p *page) read(ctx context.Context, snap *bed.Snapshot, key, from string) error {
	if err := p.unreadable(snap, key); err != nil {
		return err
	}
	f := p.a.filter(key, p.opts)
	if !p.opts.Recursive {
		if e, ok := snap.Get(key); ok && f.Match(e) {
			return p.add(ctx, e)
		}
		return nil
	}
	limit := p.opts.Predicate.Limit
	for e := range snap.All(f, from) {
		if err := p.add(ctx, e); err != nil {
			return err
		}
		if p.count == limit {
			break
		}
	}
	if limit == 0 || p.count < limit {
		return nil
	}
	// Kubernetes promises another page if anything follows, selected or not.
	for range snap.All(bed.Filter{Prefix: key}, p.last+"\x00") {
		p.more = true
		p.count++
	}
	return nil
}

// unreadable is an error if the table could not read an object of the list.
func (p *page) unreadable(snap *bed.Snapshot, key string) error {
	for c := range snap.Corrupt() {
		if c.Key == p.a.abs(key) || p.opts.Recursive && strings.HasPrefix(c.Key, p.a.abs(key)) {
			return storage.NewInternalError(c)
		}
	}
	return nil
}

func (p *page) add(ctx context.Context, e *bed.Entry) error {
	obj := p.a.c.New()
	if _, err := p.a.decode(ctx, e.Key, e.Raw, e.Rev, obj); err != nil {
		return err
	}
	p.items, p.last = append(p.items, obj), e.Key
	p.count++
	return nil
}

// filter says a predicate to the table, which answers from heads and indexes: the predicate's own GetAttrs is not asked.
func (a *Adapter) filter(key string, opts storage.ListOptions) bed.Filter {
	f := bed.Filter{Prefix: key, Bookmarks: opts.ProgressNotify}
	if !opts.Recursive {
		f.Prefix, f.Key = "", key
	}
	a.selectLabels(&f, opts.Predicate.Label)
	a.selectFields(&f, opts.Predicate.Field)
	return f
}

func (a *Adapter) selectLabels(f *bed.Filter, s labels.Selector) {
	if s == nil || s.Empty() {
		return
	}
	reqs, _ := s.Requirements()
	for _, r := range reqs {
		if r.Operator() == selection.Equals || r.Operator() == selection.DoubleEquals {
			value, _ := r.Values().PopAny()
			f.LabelIs = append(f.LabelIs, bed.Pair{Key: r.Key(), Value: value})
		}
	}
	if len(reqs) == 0 || len(f.LabelIs) < len(reqs) {
		f.Labels = func(pairs []bed.Pair) bool { return s.Matches(labelSet(pairs)) }
	}
}

func (a *Adapter) selectFields(f *bed.Filter, s fields.Selector) {
	if s == nil || s.Empty() {
		return
	}
	reqs := s.Requirements()
	for _, r := range reqs {
		if r.Operator == selection.Equals || r.Operator == selection.DoubleEquals {
			f.IndexIs = append(f.IndexIs, bed.Pair{Key: r.Field, Value: r.Value})
		}
	}
	if len(f.IndexIs) < len(reqs) {
		f.Index = func(values []string) bool {
			set := fields.Set{}
			for i, name := range a.c.Schema.Indexes {
				set[name] = values[i]
			}
			return s.Matches(set)
		}
	}
}

func labelSet(pairs []bed.Pair) labels.Set {
	set := labels.Set{}
	for _, p := range pairs {
		set[p.Key] = p.Value
	}
	return set
}

// What Kubernetes says of a list whose revision is gone; clients show it to people.
const (
	listTooOld     = "The resourceVersion for the provided list is too old."
	continueTooOld = "The provided continue parameter is too old to display a consistent list result. The token in this " +
		"answer goes on with what there is now."
)

// listFailed says an error of a snapshot in Kubernetes' words. Where a page is too old, it offers a token for the rest
// at the latest revision.
func (a *Adapter) listFailed(key, from string, rev int64, err error) error {
	if !errors.Is(err, bed.ErrTooOld) {
		return a.failed(key, rev, err)
	}
	if from == "" {
		return apierrors.NewResourceExpired(listTooOld)
	}
	expired := apierrors.NewResourceExpired(continueTooOld)
	token, err := storage.EncodeContinue(from, a.abs(key), -1)
	if err != nil {
		return err
	}
	expired.ErrStatus.Continue = token
	return expired
}
