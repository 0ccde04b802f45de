package agent

import (
	"context"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/downward"
)

// configError is a mistake in what a container is made from: it waits as CreateContainerConfigError.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// configured marks an error, if it is one, as a mistake in the pod.
func configured(err error) error {
	if err == nil {
		return nil
	}
	return &configError{err}
}

func badConfig(format string, args ...any) error { return &configError{fmt.Errorf(format, args...)} }

// sources reads what environments are made from.
type sources struct {
	configMaps client.Resource[*corev1.ConfigMap]
	secrets    client.Resource[*corev1.Secret]
	services   func(ctx context.Context, namespace string) ([]*corev1.Service, error) // nil: there are none
}

// environment resolves a container's variables, in the order in which they are defined, later ones winning. Those of
// services come first.
func (s sources) environment(ctx context.Context, p *corev1.Pod, c *corev1.Container) (map[string]string, error) {
	env, err := s.links(ctx, p)
	if err != nil {
		return nil, err
	}
	for _, from := range c.EnvFrom {
		values, err := s.all(ctx, p.Namespace, from)
		if err != nil {
			return nil, err
		}
		for key, value := range values {
			if name := from.Prefix + key; len(utilvalidation.IsRelaxedEnvVarName(name)) == 0 {
				env[name] = value
			}
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			env[e.Name] = expand(e.Value, env)
			continue
		}
		value, ok, err := s.one(ctx, p, c, e.ValueFrom)
		if err != nil {
			return nil, err
		}
		if ok {
			env[e.Name] = value
		}
	}
	return env, nil
}

// all returns the pairs of a whole configMap or secret; one that is missing and optional has none.
func (s sources) all(ctx context.Context, namespace string, from corev1.EnvFromSource) (map[string]string, error) {
	switch {
	case from.ConfigMapRef != nil:
		r := from.ConfigMapRef
		return s.configMap(ctx, namespace, r.Name, r.Optional)
	case from.SecretRef != nil:
		r := from.SecretRef
		return s.secret(ctx, namespace, r.Name, r.Optional)
	}
	return nil, nil
}

func (s sources) configMap(ctx context.Context, namespace, name string, optional *bool) (map[string]string, error) {
	m, err := s.configMaps.Get(ctx, namespace, name)
	if apierrors.IsNotFound(err) {
		if optional != nil && *optional {
			return nil, nil
		}
		return nil, badConfig("configmap %q not found", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read configmap %s/%s: %w", namespace, name, err)
	}
	out := maps.Clone(m.Data)
	if out == nil {
		out = map[string]string{}
	}
	for key, value := range m.BinaryData {
		out[key] = string(value)
	}
	return out, nil
}

func (s sources) secret(ctx context.Context, namespace, name string, optional *bool) (map[string]string, error) {
	m, err := s.secrets.Get(ctx, namespace, name)
	if apierrors.IsNotFound(err) {
		if optional != nil && *optional {
			return nil, nil
		}
		return nil, badConfig("secret %q not found", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read secret %s/%s: %w", namespace, name, err)
	}
	out := map[string]string{}
	for key, value := range m.Data {
		out[key] = string(value)
	}
	return out, nil
}

// one resolves one variable's source; ok is false for an optional one that is missing.
func (s sources) one(ctx context.Context, p *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource) (value string, ok bool, err error) {
	key := func(values map[string]string, err error, kind, name, key string, optional *bool) (string, bool, error) {
		if err != nil {
			return "", false, err
		}
		value, ok := values[key]
		if !ok && (optional == nil || !*optional) {
			return "", false, badConfig("couldn't find key %s in %s %s/%s", key, kind, p.Namespace, name)
		}
		return value, ok, nil
	}
	switch {
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		values, err := s.configMap(ctx, p.Namespace, r.Name, r.Optional)
		return key(values, err, "ConfigMap", r.Name, r.Key, r.Optional)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		values, err := s.secret(ctx, p.Namespace, r.Name, r.Optional)
		return key(values, err, "Secret", r.Name, r.Key, r.Optional)
	case from.FieldRef != nil:
		value, err := downward.Field(p, from.FieldRef.FieldPath)
		return value, true, configured(err)
	case from.ResourceFieldRef != nil:
		value, err := downward.Resource(p, c, from.ResourceFieldRef)
		return value, true, configured(err)
	}
	return "", false, badConfig("a variable has a source of a kind that this node doesn't know")
}

// expand replaces $(NAME) by what env has; $$ is a dollar sign, and what env doesn't have stays as it is.
func expand(s string, env map[string]string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				b.WriteByte('$')
				continue
			}
			if value, ok := env[s[i+2:i+end]]; ok {
				b.WriteString(value)
			} else {
				b.WriteString(s[i : i+end+1])
			}
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

func expandAll(in []string, env map[string]string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = expand(s, env)
	}
	return out
}
