package crd

import (
	"context"
	"crypto/sha256"
	"fmt"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
	"github.com/bedplate/bedplate/apimachinery/jsonschema"
	"github.com/bedplate/bedplate/apimachinery/structural"
)

// compiled is the schema of a version, ready for use.
type compiled struct {
	schema, status *jsonschema.Schema
	rules          *cel.Rules
}

var _ apimachinery.Schema = (*compiled)(nil)

// compileFrom reads the schema of a version out of a definition's JSON, and compiles it.
func compileFrom(raw []byte, version string, language *cel.Environment) (*compiled, error) {
	s, err := schemaIn(raw, version)
	if err != nil {
		return nil, err
	}
	c := &compiled{}
	if c.schema, err = jsonschema.Compile(s); err != nil {
		return nil, err
	}
	c.status, c.rules = c.schema.Field("status"), language.Rules(s, true)
	return c, nil
}

func schemaIn(raw []byte, version string) (*apiext.JSONSchemaProps, error) {
	var d apiext.CustomResourceDefinition
	if err := apimachinery.DecodeLoose(raw, &d); err != nil {
		return nil, fmt.Errorf("decode definition: %w", err)
	}
	for i := range d.Spec.Versions {
		if v := &d.Spec.Versions[i]; v.Name == version && v.Schema != nil {
			return v.Schema.OpenAPIV3Schema, nil
		}
	}
	return nil, nil
}

// digestOf tells definitions apart.
func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return string(sum[:])
}

// schemaFrom is the schema of a version as documents of OpenAPI 2 or 3 have it, as JSON.
func schemaFrom(raw []byte, version string, openAPI int) ([]byte, error) {
	s, err := schemaIn(raw, version)
	if err != nil {
		return nil, err
	}
	o, err := jsonschema.OpenAPI(s, openAPI)
	if err != nil {
		return nil, err
	}
	return apimachinery.Encode(o)
}

// Prune implements apimachinery.Schema.
func (c *compiled) Prune(o map[string]any) []string { return c.schema.Prune(o) }

// Default implements apimachinery.Schema.
func (c *compiled) Default(o map[string]any) { c.schema.Default(o) }

// Coerce implements apimachinery.Schema.
func (c *compiled) Coerce(o map[string]any, drop bool) ([]string, error) {
	unknown, err := c.schema.CoerceMetadata(o, jsonschema.CoerceOptions{Drop: drop, Unknown: !drop})
	if err != nil {
		return unknown, err
	}
	return unknown, nil
}

// Shape implements apimachinery.Schema.
func (c *compiled) Shape() (*structural.Type, error) { return c.schema.Shape(), nil }

// validate judges an object; old is nil on create. found are errors that are known already.
func (c *compiled) validate(ctx context.Context, new, old map[string]any, found field.ErrorList) field.ErrorList {
	var before any
	if old != nil {
		before = old
	}
	return c.ruled(ctx, new, before, append(c.schema.Validate(nil, new, before), found...))
}

// validateStatus judges an object of which the status alone was written.
func (c *compiled) validateStatus(ctx context.Context, new, old map[string]any, found field.ErrorList) field.ErrorList {
	var errs field.ErrorList
	if status, ok := new["status"]; ok {
		errs = c.status.Validate(field.NewPath("status"), status, old["status"])
	}
	return c.ruled(ctx, new, old, append(errs, found...))
}

// ruled adds what the rules of the schema say, if what is known already leaves sense in asking them.
func (c *compiled) ruled(ctx context.Context, new, old any, errs field.ErrorList) field.ErrorList {
	if c.rules == nil {
		return errs
	}
	if cel.Blocks(errs) {
		return append(errs, cel.NotChecked())
	}
	found, _ := c.rules.Validate(ctx, nil, new, old, cel.Budget)
	return append(errs, found...)
}
