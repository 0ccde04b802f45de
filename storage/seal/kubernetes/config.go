package kubernetes

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const apiVersion, kindName = "apiserver.config.k8s.io/v1", "EncryptionConfiguration"

// configuration is Kubernetes' file.
type configuration struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Resources  []resource `json:"resources"`
}

type resource struct {
	Resources []string   `json:"resources"`
	Providers []provider `json:"providers"`
}

type provider struct {
	AESGCM    *keyed    `json:"aesgcm"`
	AESCBC    *keyed    `json:"aescbc"`
	Secretbox *keyed    `json:"secretbox"`
	Identity  *struct{} `json:"identity"`
	KMS       *plugin   `json:"kms"`
}

type keyed struct {
	Keys []key `json:"keys"`
}

type key struct {
	Name   string `json:"name"`
	Secret secret `json:"secret"`
}

// secret is a key in base64. No format shows it.
type secret string

func (secret) String() string   { return "REDACTED" }
func (secret) GoString() string { return "REDACTED" }

type plugin struct {
	APIVersion string   `json:"apiVersion"`
	Name       string   `json:"name"`
	CacheSize  *int32   `json:"cachesize"`
	Endpoint   string   `json:"endpoint"`
	Timeout    duration `json:"timeout"`
}

// duration reads what Kubernetes writes: "3s".
type duration struct{ time.Duration }

func (d *duration) UnmarshalJSON(raw []byte) (err error) {
	text, ok := strings.CutPrefix(string(raw), `"`)
	if !ok {
		return fmt.Errorf("the duration %s is no text, as in 3s", raw)
	}
	d.Duration, err = time.ParseDuration(strings.TrimSuffix(text, `"`))
	return err
}

// parse reads and judges a file. No error shows a secret.
func parse(raw []byte) (*configuration, error) {
	c := &configuration{}
	if err := yaml.UnmarshalStrict(raw, c); err != nil {
		return nil, errors.New("it is not YAML of an " + kindName + ", or has fields that are unknown or given twice") // the parser's error may quote a secret
	}
	if c.APIVersion != apiVersion || c.Kind != kindName {
		return nil, fmt.Errorf("it is a %q %q: it must be a %s %s", c.APIVersion, c.Kind, apiVersion, kindName)
	}
	return c, c.validate()
}

func (c *configuration) validate() error {
	if len(c.Resources) == 0 {
		return errors.New("resources: at least one is required")
	}
	var errs []error
	plugins, seen := map[string]plugin{}, map[string]bool{}
	for i := range c.Resources {
		r, at := &c.Resources[i], fmt.Sprintf("resources[%d]", i)
		if len(r.Resources) == 0 || len(r.Providers) == 0 {
			errs = append(errs, fmt.Errorf("%s: at least one resource and one provider are required", at))
		}
		errs = append(errs, validateResources(r.Resources, seen, at+".resources"))
		for j := range r.Providers {
			errs = append(errs, r.Providers[j].validate(plugins, fmt.Sprintf("%s.providers[%d]", at, j)))
		}
	}
	return errors.Join(errs...)
}

// validateResources judges the names of resources; seen are those of earlier entries.
func validateResources(names []string, seen map[string]bool, at string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(at+": "+format, args...)) }
	for i, name := range names {
		resource, group, _ := strings.Cut(name, ".")
		switch {
		case name == "" || resource == "":
			bad("%q is no resource", name)
		case strings.ToLower(name) != name:
			bad("%q: a resource's name has no capital letters", name)
		case name == "*":
			bad("use '*.' for all resources of the core group, or *.* for all resources")
		case slices.Contains([]string{"apiserveripinfo", "serviceipallocations", "servicenodeportallocations"}, name):
			bad("%q is not served, and can't be encrypted", name)
		case group == "events.k8s.io":
			bad("%q: these objects are stored as 'events'", name)
		case group == "extensions":
			bad("%q: there is no such group any more", name)
		case group == "*" && resource != "*":
			bad("%q: a resource can't be named across groups", name)
		case slices.Contains(names[:i], name):
			bad("%q is there twice", name)
		case seen["*.*"] || seen["*."+group] && resource != "*":
			bad("%q is masked by an earlier wildcard", name)
		}
		others := slices.Delete(slices.Clone(names), i, i+1)
		if (name == "*.*" && len(others) > 0) || resource == "*" && slices.ContainsFunc(others, func(o string) bool {
			_, g, _ := strings.Cut(o, ".")
			return g == group && o != name
		}) {
			bad("%q overlaps with other resources of the same list", name)
		}
	}
	for _, name := range names {
		resource, group, _ := strings.Cut(name, ".")
		seen[resource+"."+group] = true
	}
	return errors.Join(errs...)
}

var (
	aesLengths = []int{16, 24, 32}
	boxLengths = []int{32}
)

func (p *provider) validate(plugins map[string]plugin, at string) error {
	n := 0
	for _, there := range []bool{p.AESGCM != nil, p.AESCBC != nil, p.Secretbox != nil, p.Identity != nil, p.KMS != nil} {
		if there {
			n++
		}
	}
	switch {
	case n != 1:
		return fmt.Errorf("%s: it must be one of kms, aesgcm, aescbc, secretbox, identity; these are %d", at, n)
	case p.AESGCM != nil:
		return p.AESGCM.validate(at+".aesgcm", aesLengths)
	case p.AESCBC != nil:
		return p.AESCBC.validate(at+".aescbc", aesLengths)
	case p.Secretbox != nil:
		return p.Secretbox.validate(at+".secretbox", boxLengths)
	case p.KMS != nil:
		return p.KMS.validate(plugins, at+".kms")
	}
	return nil
}

func (k *keyed) validate(at string, lengths []int) error {
	if len(k.Keys) == 0 {
		return fmt.Errorf("%s.keys: at least one is required", at)
	}
	var errs []error
	for i, key := range k.Keys {
		raw, err := key.bytes()
		switch {
		case key.Name == "" || key.Secret == "":
			errs = append(errs, fmt.Errorf("%s.keys[%d]: name and secret are required", at, i))
		case err != nil:
			errs = append(errs, fmt.Errorf("%s.keys[%d].secret: it is not base64", at, i))
		case !slices.Contains(lengths, len(raw)):
			errs = append(errs, fmt.Errorf("%s.keys[%d].secret: it has %d bytes, not one of %v", at, i, len(raw), lengths))
		}
	}
	return errors.Join(errs...)
}

func (k *key) bytes() ([]byte, error) { return base64.StdEncoding.DecodeString(string(k.Secret)) }

const defaultTimeout = 3 * time.Second

// validate judges a plugin. The same name may come again for the same plugin's other resources only in Kubernetes' own
// way: not at all.
func (p *plugin) validate(plugins map[string]plugin, at string) error {
	_, twice := plugins[p.Name]
	plugins[p.Name] = *p
	u, err := url.Parse(p.Endpoint)
	switch {
	case p.APIVersion != "v2":
		return fmt.Errorf("%s: its apiVersion is %q (v1 if it has none): only v2 is supported", at, p.APIVersion)
	case p.Name == "" || strings.Contains(p.Name, ":"):
		return fmt.Errorf("%s: the name %q is empty or has a colon", at, p.Name)
	case twice:
		return fmt.Errorf("%s: another plugin has the name %q, too", at, p.Name)
	case p.CacheSize != nil:
		return fmt.Errorf("%s: v2 has no cachesize", at)
	case err != nil || u.Scheme != "unix" || u.Path == "":
		return fmt.Errorf("%s: the endpoint %q is no unix socket, as in unix:///run/kms.sock", at, p.Endpoint)
	case p.Timeout.Duration < 0:
		return fmt.Errorf("%s: the timeout %v is negative", at, p.Timeout)
	}
	if p.Timeout.Duration == 0 {
		p.Timeout.Duration = defaultTimeout
	}
	return nil
}
