package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/seal"
)

// Config configures [Keys]. It needs a File.
type Config struct {
	// File is an EncryptionConfiguration.
	File string
	// Reload reads the file anew each minute, and goes by it if it has changed. Values that are there stay as they
	// are until they are written, or rewritten (seal.Sealed.Rewrite).
	Reload bool
	// Resources are the built-in kinds and where they lie. Others lie at <group>/<resource>.
	Resources []Resource
	// Root is what all objects lie below, "/registry/" by default.
	Root string
	// Server names this server in metrics.
	Server string
	// Log hears of plugins that are unwell, and of a file that can't be used. Nil: off.
	Log *slog.Logger
	// Registerer takes the metrics, under Kubernetes' names. Nil: off.
	Registerer prometheus.Registerer
}

// Resource is where the objects of a kind lie: <Root><Prefix>/.
type Resource struct{ Group, Name, Prefix string }

// Keys are those that a file names. Methods may be called concurrently, but for Seal, which comes first.
type Keys struct {
	c       Config
	metrics *metrics
	sealed  *seal.Sealed
	ran     atomic.Bool
	ready   chan struct{}

	mu      sync.Mutex
	read    []byte // the file as it is in use
	rules   []seal.Rule
	plugins []*kms
	bad     error // of the file since
	retired []retired
}

// retired are plugins that the file names no more: what began by the old rules may still want them.
type retired struct {
	until   time.Time
	plugins []*kms
}

// Open reads the file. It starts nothing: plugins are asked by Run.
func Open(c Config) (*Keys, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Root == "" {
		c.Root = "/registry/"
	}
	k := &Keys{c: c, ready: make(chan struct{})}
	var err error
	if k.metrics, err = newMetrics(c.Registerer, c.Server); err != nil {
		return nil, fmt.Errorf("encryption: register metrics: %w", err)
	}
	raw, err := os.ReadFile(c.File)
	if err != nil {
		return nil, fmt.Errorf("encryption: %w", err)
	}
	if k.rules, k.plugins, err = k.build(raw); err != nil {
		return nil, fmt.Errorf("encryption: %s: %w", c.File, err)
	}
	k.read = raw
	return k, nil
}

// Seal puts the seal around a backend. It is called once.
func (k *Keys) Seal(b storage.Backend) (*seal.Sealed, error) {
	s, err := seal.New(b, seal.Config{Rules: k.rules, Log: k.c.Log})
	k.sealed = s
	return s, err
}

// build makes the rules that a file says, and the plugins behind them.
func (k *Keys) build(raw []byte) (rules []seal.Rule, plugins []*kms, err error) {
	c, err := parse(raw)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			closeAll(plugins)
		}
	}()
	at := map[string]int{}
	for _, r := range c.Resources {
		var providers []seal.Provider
		for i := range r.Providers {
			if providers, plugins, err = k.provide(&r.Providers[i], providers, plugins); err != nil {
				return nil, plugins, err
			}
		}
		for _, name := range r.Resources {
			name, group, _ := strings.Cut(name, ".")
			if i, twice := at[name+"."+group]; twice { // what comes later reads
				rules[i].Providers = append(rules[i].Providers, providers...)
				continue
			}
			at[name+"."+group] = len(rules)
			rules = append(rules, seal.Rule{Prefixes: k.prefixes(name, group), Providers: providers[:len(providers):len(providers)]})
		}
	}
	return rules, plugins, nil
}

// prefixes are where the objects of a resource lie, or of all resources of a group, or all.
func (k *Keys) prefixes(name, group string) []string {
	if name == "*" && group == "*" {
		return []string{k.c.Root}
	}
	var all []string
	for _, r := range k.c.Resources {
		if r.Group == group && (name == "*" || name == r.Name) {
			all = append(all, k.c.Root+or(r.Prefix, r.Name)+"/")
		}
	}
	switch {
	case group != "" && name == "*":
		all = append(all, k.c.Root+group+"/")
	case len(all) == 0 && group == "":
		all = append(all, k.c.Root+name+"/")
	case len(all) == 0:
		all = append(all, k.c.Root+group+"/"+name+"/")
	}
	return all
}

func or(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// provide appends the providers that an entry stands for: one for each key.
func (k *Keys) provide(p *provider, all []seal.Provider, plugins []*kms) ([]seal.Provider, []*kms, error) {
	keys := func(of *keyed, make func(string, []byte) (seal.Provider, error)) error {
		for _, key := range of.Keys {
			raw, err := key.bytes()
			if err != nil {
				return errors.New("a secret is not base64")
			}
			one, err := make(key.Name, raw)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		return nil
	}
	var err error
	switch {
	case p.Identity != nil:
		all = append(all, seal.Identity)
	case p.AESGCM != nil:
		err = keys(p.AESGCM, func(n string, b []byte) (seal.Provider, error) { return seal.NewAESGCM(n, b) })
	case p.AESCBC != nil:
		err = keys(p.AESCBC, func(n string, b []byte) (seal.Provider, error) { return newCBC(n, b) })
	case p.Secretbox != nil:
		err = keys(p.Secretbox, func(n string, b []byte) (seal.Provider, error) { return newBox(n, b) })
	case p.KMS != nil:
		var one *kms
		if one, err = newKMS(*p.KMS, k.metrics); err == nil {
			all, plugins = append(all, one), append(plugins, one)
		}
	}
	return all, plugins, err
}

func closeAll(plugins []*kms) {
	for _, p := range plugins {
		_ = p.conn.Close() // it only says that it was closed
	}
}

// Ready is closed once Run has asked every plugin, whatever they said.
func (k *Keys) Ready() <-chan struct{} { return k.ready }

// Check says what is wrong with the plugins, and with the file if it was read anew.
func (k *Keys) Check(context.Context) error {
	k.mu.Lock()
	plugins, errs := k.plugins, []error{k.bad}
	k.mu.Unlock()
	for _, p := range plugins {
		errs = append(errs, p.check())
	}
	return errors.Join(errs...)
}

// Run asks the plugins, and reads the file anew where that is wanted, until ctx ends. It must run while the store is in
// use. Afterwards the plugins can't be asked any more.
func (k *Keys) Run(ctx context.Context) error {
	if k.ran.Swap(true) {
		return errors.New("run encryption: it ran already")
	}
	defer k.close()
	k.askAll(ctx)
	close(k.ready)
	looked := time.Now()
	for {
		wait := wellEvery
		if k.Check(ctx) != nil {
			wait = unwellEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if k.c.Reload && time.Since(looked) >= wellEvery-unwellEvery/2 {
			looked = time.Now()
			k.reload(ctx)
		}
		k.retire(time.Now())
		k.askAll(ctx)
	}
}

func (k *Keys) close() {
	closeAll(k.plugins)
	k.retire(time.Now().Add(closeAfter))
}

func (k *Keys) retire(now time.Time) {
	k.retired = slices.DeleteFunc(k.retired, func(r retired) bool {
		gone := !r.until.After(now)
		if gone {
			closeAll(r.plugins)
		}
		return gone
	})
}

func (k *Keys) askAll(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range k.plugins {
		wg.Go(func() {
			before := p.check()
			if err := p.ask(ctx); err != nil && ctx.Err() == nil {
				k.c.Log.Error("a key management plugin is unwell", "err", err)
			} else if before != nil && before != errUnasked {
				k.c.Log.Info("a key management plugin is well again", "plugin", p.Name)
			}
		})
	}
	wg.Wait()
}

// reload goes by the file if it has changed and is good, and its plugins are well.
func (k *Keys) reload(ctx context.Context) {
	raw, err := os.ReadFile(k.c.File)
	if err == nil && bytes.Equal(raw, k.read) {
		k.note(nil)
		return
	}
	var rules []seal.Rule
	var plugins []*kms
	if err == nil {
		rules, plugins, err = k.build(raw)
	}
	for _, p := range plugins {
		if err == nil {
			err = p.ask(ctx)
		}
	}
	if err == nil {
		err = k.sealed.SetRules(rules...)
	}
	k.metrics.reloaded(err)
	if err != nil {
		closeAll(plugins)
		k.c.Log.Error("the encryption configuration was changed, and can't be used", "file", k.c.File, "err", err)
		k.note(fmt.Errorf("encryption: %s: %w", k.c.File, err))
		return
	}
	k.c.Log.Info("the encryption configuration was read anew", "file", k.c.File)
	k.retired = append(k.retired, retired{time.Now().Add(closeAfter), k.plugins})
	k.mu.Lock()
	k.read, k.plugins, k.bad = raw, plugins, nil
	k.mu.Unlock()
}

// closeAfter is how long plugins are kept that the file names no more.
const closeAfter = 2 * time.Minute

func (k *Keys) note(bad error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bad = bad
}
