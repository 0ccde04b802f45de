// Package crd serves what CustomResourceDefinitions define. A [Controller] follows the table of definitions of a
// server, accepts their names, registers a resource for each that is established, and deletes the instances of those
// that end. It writes conditions as Kubernetes v1.37 does, idempotently, so that several servers over one store agree.
//
// A definition costs little until somebody asks for what it defines: its schema, rules and columns are compiled, and
// its table opened, with the first request.
//
// Objects are converted among versions by changing apiVersion alone, by a webhook (apiextensions/v1 ConversionReview),
// or by a Go function of this process ([Config.Convert]).
package crd
