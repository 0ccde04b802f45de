//go:build linux

package local

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/downward"
)

// file is one file of a volume.
type file struct {
	data []byte
	mode fs.FileMode
}

// content reads what volumes show from the API.
type content struct {
	configMaps client.Resource[*corev1.ConfigMap]
	secrets    client.Resource[*corev1.Secret]
	accounts   client.Resource[*corev1.ServiceAccount]
}

func newContent(c *client.Client) content {
	return content{client.For[*corev1.ConfigMap](c), client.For[*corev1.Secret](c), client.For[*corev1.ServiceAccount](c)}
}

// files are what a volume shall show, by their path in it. old is what it shows, so that a token that is good for
// longer is kept.
func (c content) files(ctx context.Context, pod *corev1.Pod, vol *corev1.Volume, old tokens) (map[string]file, error) {
	out := map[string]file{}
	switch {
	case vol.ConfigMap != nil:
		v := vol.ConfigMap
		data, err := c.configMap(ctx, pod.Namespace, v.Name, v.Optional)
		if err != nil {
			return nil, err
		}
		return out, pick(out, data, v.Items, v.DefaultMode, v.Optional)
	case vol.Secret != nil:
		v := vol.Secret
		data, err := c.secret(ctx, pod.Namespace, v.SecretName, v.Optional)
		if err != nil {
			return nil, err
		}
		return out, pick(out, data, v.Items, v.DefaultMode, v.Optional)
	case vol.DownwardAPI != nil:
		return out, downwardFiles(out, pod, vol.DownwardAPI.Items, vol.DownwardAPI.DefaultMode)
	}
	for _, s := range vol.Projected.Sources {
		if err := c.projection(ctx, out, pod, s, vol.Projected.DefaultMode, old); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c content) projection(ctx context.Context, out map[string]file, pod *corev1.Pod, s corev1.VolumeProjection, mode *int32, old tokens) error {
	switch {
	case s.ConfigMap != nil:
		data, err := c.configMap(ctx, pod.Namespace, s.ConfigMap.Name, s.ConfigMap.Optional)
		if err != nil {
			return err
		}
		return pick(out, data, s.ConfigMap.Items, mode, s.ConfigMap.Optional)
	case s.Secret != nil:
		data, err := c.secret(ctx, pod.Namespace, s.Secret.Name, s.Secret.Optional)
		if err != nil {
			return err
		}
		return pick(out, data, s.Secret.Items, mode, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return downwardFiles(out, pod, s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		return c.token(ctx, out, pod, s.ServiceAccountToken, mode, old)
	}
	return fmt.Errorf("this node can't project a source of this type")
}

func (c content) configMap(ctx context.Context, namespace, name string, optional *bool) (map[string][]byte, error) {
	m, err := c.configMaps.Get(ctx, namespace, name)
	if missing(err, optional) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configmap %q: %w", name, err)
	}
	data := map[string][]byte{}
	for key, value := range m.Data {
		data[key] = []byte(value)
	}
	for key, value := range m.BinaryData {
		data[key] = value
	}
	return data, nil
}

func (c content) secret(ctx context.Context, namespace, name string, optional *bool) (map[string][]byte, error) {
	s, err := c.secrets.Get(ctx, namespace, name)
	if missing(err, optional) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	return s.Data, nil
}

func missing(err error, optional *bool) bool {
	return apierrors.IsNotFound(err) && optional != nil && *optional
}

// pick takes all keys, or those that items name, at their paths.
func pick(out map[string]file, data map[string][]byte, items []corev1.KeyToPath, mode *int32, optional *bool) error {
	if len(items) == 0 {
		for key, value := range data {
			out[key] = file{value, modeOf(nil, mode)}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf("references non-existent key: %s", item.Key)
		}
		out[path.Clean(item.Path)] = file{value, modeOf(item.Mode, mode)}
	}
	return nil
}

func modeOf(own, usual *int32) fs.FileMode {
	switch {
	case own != nil:
		return fs.FileMode(*own)
	case usual != nil:
		return fs.FileMode(*usual)
	}
	return 0o644
}

func downwardFiles(out map[string]file, pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	for _, item := range items {
		var value string
		var err error
		if item.FieldRef != nil {
			value, err = downward.Field(pod, item.FieldRef.FieldPath)
		} else {
			value, err = downward.Resource(pod, nil, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		out[path.Clean(item.Path)] = file{[]byte(value), modeOf(item.Mode, mode)}
	}
	return nil
}

// tokens are what a volume shows of service-account tokens, and how old they are.
type tokens struct {
	read func(path string) ([]byte, time.Time)
}

// token asks for a token bound to the pod, unless the one that is there is good for long enough: less than four
// fifths of its life, and of a day, are over.
func (c content) token(ctx context.Context, out map[string]file, pod *corev1.Pod, t *corev1.ServiceAccountTokenProjection, mode *int32, old tokens) error {
	life := int64(3600)
	if t.ExpirationSeconds != nil {
		life = *t.ExpirationSeconds
	}
	m := tokenMode(pod, modeOf(nil, mode))
	if have, made := old.read(path.Clean(t.Path)); have != nil && time.Since(made) < min(time.Duration(life)*time.Second*4/5, 24*time.Hour) {
		out[path.Clean(t.Path)] = file{have, m}
		return nil
	}
	r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &life,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if t.Audience != "" {
		r.Spec.Audiences = []string{t.Audience}
	}
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	answer, err := client.Sub[authenticationv1.TokenRequest](c.accounts, "token").Create(ctx, pod.Namespace, account, r)
	if err != nil {
		return fmt.Errorf("token of service account %q: %w", account, err)
	}
	if answer == nil || answer.Status.Token == "" {
		return fmt.Errorf("token of service account %q: the server answered without one", account)
	}
	out[path.Clean(t.Path)] = file{[]byte(answer.Status.Token), m}
	return nil
}

// tokenMode lets the containers' one user read a token that only its owner may.
func tokenMode(pod *corev1.Pod, mode fs.FileMode) fs.FileMode {
	if fsGroup(pod) >= 0 {
		return 0o600 | 0o040
	}
	return mode
}
