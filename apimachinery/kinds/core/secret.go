package core

import (
	"context"
	"crypto/tls"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Secrets declares v1 Secret.
func Secrets() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "secrets"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.Secret{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Secret"),
			Plural:           "secrets",
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Type", "string", func(s *corev1.Secret) any { return string(s.Type) }),
				apimachinery.ColumnOf("Data", "string", func(s *corev1.Secret) any { return int64(len(s.Data)) }),
				apimachinery.AgeColumn(),
			},
			Fields: []apimachinery.Field{{Name: "type"}},
		}},
		Default: func(o apimachinery.Object) { defaultSecret(o.(*corev1.Secret)) },
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			errs := append(ValidateFinalizers(new), validateSecret(new.(*corev1.Secret))...)
			if old != nil {
				errs = append(errs, validateSecretUpdate(new.(*corev1.Secret), old.(*corev1.Secret))...)
			}
			return errs
		},
		Warnings: func(new, _ apimachinery.Object) []string { return secretWarnings(new.(*corev1.Secret)) },
	}
}

// secretWarnings say why a key and a certificate won't do.
func secretWarnings(s *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// defaultSecret also folds stringData, which is write-only, into data.
func defaultSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	for key, value := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	data := field.NewPath("data")
	var errs field.ErrorList
	total := 0
	for key, value := range s.Data {
		errs = append(errs, validateDataKey(data.Key(key), key)...)
		total += len(value)
	}
	if total > maxData {
		errs = append(errs, field.TooLong(data, "", maxData))
	}
	return append(errs, validateSecretType(s, data)...)
}

func validateSecretType(s *corev1.Secret, data *field.Path) field.ErrorList {
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			return field.ErrorList{field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), "")}
		}
	case corev1.SecretTypeDockercfg:
		return validateJSONKey(s, data, corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		return validateJSONKey(s, data, corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			return field.ErrorList{
				field.Required(data.Key(corev1.BasicAuthUsernameKey), ""),
				field.Required(data.Key(corev1.BasicAuthPasswordKey), ""),
			}
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			return field.ErrorList{field.Required(data.Key(corev1.SSHAuthPrivateKey), "")}
		}
	case corev1.SecretTypeTLS:
		return validateKeysPresent(s, data, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return nil
}

func validateKeysPresent(s *corev1.Secret, data *field.Path, keys ...string) field.ErrorList {
	var errs field.ErrorList
	for _, key := range keys {
		if _, ok := s.Data[key]; !ok {
			errs = append(errs, field.Required(data.Key(key), ""))
		}
	}
	return errs
}

func validateJSONKey(s *corev1.Secret, data *field.Path, key string) field.ErrorList {
	if errs := validateKeysPresent(s, data, key); errs != nil {
		return errs
	}
	if err := json.Unmarshal(s.Data[key], &map[string]any{}); err != nil {
		return field.ErrorList{field.Invalid(data.Key(key), "<secret contents redacted>", err.Error())}
	}
	return nil
}

func validateSecretUpdate(new, old *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	if new.Type != old.Type {
		errs = append(errs, field.Invalid(field.NewPath("type"), new.Type, "field is immutable"))
	}
	if old.Immutable == nil || !*old.Immutable {
		return errs
	}
	if new.Immutable == nil || !*new.Immutable {
		errs = append(errs, immutableSet(field.NewPath("immutable")))
	}
	if !equality.Semantic.DeepEqual(new.Data, old.Data) {
		errs = append(errs, immutableSet(field.NewPath("data")))
	}
	return errs
}
