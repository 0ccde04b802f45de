package apimachinery_test

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// A Spec brings its defaults and its validation as methods.
type DatabaseSpec struct {
	Engine string `json:"engine,omitempty"`
	SizeGB int    `json:"sizeGB"`
}

func (s *DatabaseSpec) Default() {
	if s.Engine == "" {
		s.Engine = "postgres"
	}
}

func (s *DatabaseSpec) Validate(path *field.Path) field.ErrorList {
	if s.SizeGB < 1 {
		return field.ErrorList{field.Invalid(path.Child("sizeGB"), s.SizeGB, "must be at least 1")}
	}
	return nil
}

type DatabaseStatus struct {
	Ready bool `json:"ready"`
}

// Database is a kind: an alias is all it takes.
type Database = apimachinery.Typed[DatabaseSpec, DatabaseStatus]

func Example() {
	databases := apimachinery.Define[DatabaseSpec, DatabaseStatus](
		schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Database"}, "databases")
	registry, err := apimachinery.NewRegistry(databases)
	if err != nil {
		fmt.Println(err)
		return
	}
	db := &Database{}
	databases.Default(db)
	found, _ := registry.ForType(db)
	fmt.Println(found.View.Kind, db.Spec.Engine, databases.Validate(nil, db, nil).ToAggregate())
	// Output: Database postgres spec.sizeGB: Invalid value: 0: must be at least 1
}
