package managedfields

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// The names of structured-merge-diff for values without a schema.
const (
	untypedAtomic  = "__untyped_atomic_"
	untypedDeduced = "__untyped_deduced_"
)

type mergeSchemaKey struct{}

// mergeType returns t as structured-merge-diff wants it. It is built at the first apply of a kind and kept with t.
func mergeType(t *structural.Type) (typed.ParseableType, error) {
	if t == nil {
		return typed.DeducedParseableType, nil
	}
	built, err := t.Derived(mergeSchemaKey{}, func(t *structural.Type) (any, error) {
		b := schemaBuilder{seen: map[string]*structural.Type{}}
		b.any()
		root := b.ref(t)
		if b.err != nil {
			return nil, b.err
		}
		return typed.ParseableType{TypeRef: root, Schema: &b.schema}, nil
	})
	if err != nil {
		return typed.ParseableType{}, fmt.Errorf("schema of %v: %w", t.GoType(), err)
	}
	return built.(typed.ParseableType), nil
}

type schemaBuilder struct {
	schema schema.Schema
	seen   map[string]*structural.Type
	err    error
}

func named(name string) schema.TypeRef { return schema.TypeRef{NamedType: &name} }

// any defines the types of values without a schema.
func (b *schemaBuilder) any() {
	scalar := schema.Untyped
	for name, relationship := range map[string]schema.ElementRelationship{untypedAtomic: schema.Atomic, untypedDeduced: schema.Separable} {
		b.schema.Types = append(b.schema.Types, schema.TypeDef{Name: name, Atom: schema.Atom{
			Scalar: &scalar,
			List:   &schema.List{ElementType: named(untypedAtomic), ElementRelationship: schema.Atomic},
			Map:    &schema.Map{ElementType: named(name), ElementRelationship: relationship},
		}})
	}
}

func (b *schemaBuilder) ref(t *structural.Type) schema.TypeRef {
	relationship := schema.Separable
	if t.Atomic() {
		relationship = schema.Atomic
	}
	switch t.Kind() {
	case structural.Scalar:
		scalar := map[structural.ScalarKind]schema.Scalar{
			structural.AnyScalar: schema.Untyped, structural.String: schema.String,
			structural.Number: schema.Numeric, structural.Boolean: schema.Boolean}[t.Scalar()]
		return schema.TypeRef{Inlined: schema.Atom{Scalar: &scalar}}
	case structural.Map:
		return schema.TypeRef{Inlined: schema.Atom{Map: &schema.Map{ElementType: b.ref(t.Elem()), ElementRelationship: relationship}}}
	case structural.List:
		list := &schema.List{ElementType: b.ref(t.Elem()), ElementRelationship: schema.Atomic, Keys: t.KeyNames()}
		if t.List() != structural.AtomicList {
			list.ElementRelationship = schema.Associative
		}
		return schema.TypeRef{Inlined: schema.Atom{List: list}}
	case structural.Struct:
		return named(b.define(t, relationship))
	}
	if t.Atomic() {
		return named(untypedAtomic)
	}
	return named(untypedDeduced)
}

// define adds a struct to the schema, once, and returns its name.
func (b *schemaBuilder) define(t *structural.Type, relationship schema.ElementRelationship) string {
	name := t.GoType().PkgPath() + "." + t.GoType().Name() + ":" + string(relationship)
	for b.seen[name] != nil && b.seen[name].GoType() != t.GoType() {
		name += "'" // types of one name, declared in functions
	}
	if b.seen[name] != nil {
		return name
	}
	b.seen[name] = t
	m := &schema.Map{ElementRelationship: relationship}
	for _, f := range t.Fields() {
		sf := schema.StructField{Name: f.Name, Type: b.ref(f.Type)}
		if f.Default != "" {
			if err := json.Unmarshal([]byte(f.Default), &sf.Default); err != nil {
				b.err = fmt.Errorf("default of %s: %w", f.Name, err)
			}
		}
		m.Fields = append(m.Fields, sf)
	}
	b.schema.Types = append(b.schema.Types, schema.TypeDef{Name: name, Atom: schema.Atom{Map: m}})
	return name
}
