package jsonschema

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var reasons = []string{
	string(apiextensionsv1.FieldValueDuplicate), string(apiextensionsv1.FieldValueForbidden),
	string(apiextensionsv1.FieldValueInvalid), string(apiextensionsv1.FieldValueRequired),
}

// validations checks all of x-kubernetes-validations but the expressions.
func (c *checker) validations(s *props, path *field.Path) {
	for i := range s.XValidations {
		c.validation(s, &s.XValidations[i], path.Child("x-kubernetes-validations").Index(i))
	}
}

func (c *checker) validation(s *props, r *apiextensionsv1.ValidationRule, at *field.Path) {
	rule, message := strings.TrimSpace(r.Rule), strings.TrimSpace(r.Message)
	switch {
	case rule == "":
		c.add(field.Required(at.Child("rule"), "rule is not specified"))
	case r.Message != "" && message == "":
		c.add(field.Invalid(at.Child("message"), r.Message, "must be non-empty if specified"))
	case lineBreaks(message):
		c.add(field.Invalid(at.Child("message"), r.Message, "must not contain line breaks"))
	case lineBreaks(rule) && message == "":
		c.add(field.Required(at.Child("message"), "message must be specified if rule contains line breaks"))
	}
	if r.MessageExpression != "" && strings.TrimSpace(r.MessageExpression) == "" {
		c.add(field.Required(at.Child("messageExpression"), "messageExpression must be non-empty if specified"))
	}
	if r.Reason != nil && !slices.Contains(reasons, string(*r.Reason)) {
		c.add(field.NotSupported(at.Child("reason"), *r.Reason, reasons))
	}
	if r.FieldPath == "" {
		return
	}
	if strings.TrimSpace(r.FieldPath) == "" {
		c.add(field.Invalid(at.Child("fieldPath"), r.FieldPath, "must be non-empty if specified"))
	}
	if lineBreaks(r.FieldPath) {
		c.add(field.Invalid(at.Child("fieldPath"), r.FieldPath, "must not contain line breaks"))
	}
	if _, err := FieldPath(s, r.FieldPath); err != nil {
		c.add(field.Invalid(at.Child("fieldPath"), r.FieldPath, "must be a valid path"))
	}
}

func lineBreaks(s string) bool { return strings.ContainsAny(s, "\r\n") }

// FieldPath returns the path that the fieldPath of a validation rule on s leads to (".spec.x", "['a.b'].c"), relative
// to s. The error says where it leaves the schema, or what is wrong with its form.
func FieldPath(s *apiextensionsv1.JSONSchemaProps, text string) (*field.Path, error) {
	var at *field.Path
	for text != "" {
		var name string
		switch text[0] {
		case '.':
			text = text[1:]
			end := strings.IndexAny(text, ".[]")
			if end < 0 {
				end = len(text)
			}
			if end == 0 && text != "" {
				end = 1 // a delimiter is a name here
			}
			if name, text = text[:end], text[end:]; name == "" {
				return nil, errors.New("unexpected end of JSON path")
			}
		case '[':
			var err error
			if name, text, err = quotedName(text[1:]); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("expected [ or . but got: %s", text)
		}
		if len(s.Properties) > 0 {
			p, ok := s.Properties[name]
			if !ok {
				return nil, errors.New("does not refer to a valid field")
			}
			s, at = &p, at.Child(name)
		} else if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
			s, at = s.AdditionalProperties.Schema, at.Key(name)
		} else {
			return nil, errors.New("does not refer to a valid field")
		}
	}
	return at, nil
}

var escapes = map[byte]byte{'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v', '\'': '\'', '\\': '\\'}

// quotedName splits 'name'] off a path.
func quotedName(s string) (name, rest string, err error) {
	if !strings.HasPrefix(s, "'") {
		return "", "", fmt.Errorf("expected single quoted string but got %s", s)
	}
	end := 1
	for end < len(s) && (s[end] != '\'' || s[end-1] == '\\') {
		end++
	}
	if end >= len(s) {
		return "", "", errors.New("unexpected end of JSON path")
	}
	var b strings.Builder
	for i := 1; i < end; i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		c, ok := escapes[s[i]]
		if !ok {
			return "", "", fmt.Errorf("invalid string literal: invalid escape char %s", s[i-1:i+1])
		}
		b.WriteByte(c)
	}
	if rest = s[end+1:]; !strings.HasPrefix(rest, "]") {
		return "", "", errors.New("expected ]")
	}
	return b.String(), rest[1:], nil
}
