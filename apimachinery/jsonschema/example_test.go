package jsonschema_test

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/jsonschema"
)

type BackupSpec struct {
	Schedule string `json:"schedule" doc:"when to run" schema:"minLength=1"`
	Keep     int32  `json:"keep,omitempty" schema:"minimum=1,maximum=100,default=7"`
}

type Backup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              BackupSpec `json:"spec"`
}

// A schema comes from a Go type, and objects are held against it.
func Example() {
	props, err := jsonschema.FromGo(&Backup{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("faults:", len(jsonschema.Check(props, nil, jsonschema.CheckOptions{})))
	s, err := jsonschema.Compile(props)
	if err != nil {
		fmt.Println(err)
		return
	}
	o := map[string]any{"spec": map[string]any{"schedule": "", "kep": int64(3)}}
	fmt.Println("unknown:", s.Prune(o))
	s.Default(o)
	fmt.Println(o)
	for _, err := range s.Validate(nil, o, nil) {
		fmt.Println(err)
	}
	// Output:
	// faults: 0
	// unknown: [spec.kep]
	// map[spec:map[keep:7 schedule:]]
	// spec.schedule: Invalid value: "": spec.schedule in body should be at least 1 chars long
}

// The descriptions and limits are what documents publish.
func ExampleOpenAPI() {
	props, err := jsonschema.FromGo(BackupSpec{})
	if err != nil {
		fmt.Println(err)
		return
	}
	doc, err := jsonschema.OpenAPI(props, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(doc["properties"].(map[string]any)["keep"])
	fmt.Println(doc["required"])
	// Output:
	// map[default:7 format:int32 maximum:100 minimum:1 type:integer]
	// [schedule]
}
