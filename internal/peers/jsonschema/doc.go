// Package jsonschema compares apimachinery/jsonschema with apiextensions-apiserver, on random schemas and on random
// values that nearly follow them. More, and others, are tried with
//
//	go test ./jsonschema -rounds 100000 -seed 2
package jsonschema
