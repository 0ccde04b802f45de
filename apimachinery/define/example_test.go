package define_test

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/apitest"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/define"
)

type BackupSpec struct {
	Schedule string `json:"schedule" doc:"when to run" schema:"minLength=1" column:"Schedule"`
	Keep     int32  `json:"keep" doc:"how many stay" schema:"default=7,maximum=100" column:"Keep"`
}

type Backup = apimachinery.Typed[BackupSpec, struct{}]

// A kind of two fields, in an API that serves it.
func Example() {
	ctx := context.Background()
	backups := define.Kind{Group: "demo.example.com", Kind: "Backup", Object: &Backup{}}.Resource()
	api, err := apitest.Open(ctx, apitest.Config{Kinds: []apimachinery.Resource{backups}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer api.Close()
	c := client.For[*Backup](api.Client())
	_, err = c.Create(ctx, &Backup{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "nightly"}, Spec: BackupSpec{Keep: 101}})
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		fmt.Println(err)
		return
	}
	for _, cause := range status.Status().Details.Causes {
		fmt.Println(cause.Field, cause.Message)
	}
	// Output:
	// spec.keep Invalid value: 101: spec.keep in body should be less than or equal to 100
	// spec.schedule Invalid value: "": spec.schedule in body should be at least 1 chars long
}

// The definition is what other servers need.
func ExampleCRDOf() {
	d, err := define.CRDOf(define.Kind{Group: "demo.example.com", Kind: "Backup", Object: &Backup{}}.Resource())
	if err != nil {
		fmt.Println(err)
		return
	}
	v := d.Spec.Versions[0]
	fmt.Println(d.Name, d.Spec.Scope, v.Name, v.Schema.OpenAPIV3Schema.Properties["spec"].Required)
	for _, c := range v.AdditionalPrinterColumns {
		fmt.Println(c.Name, c.Type, c.JSONPath)
	}
	// Output:
	// backups.demo.example.com Namespaced v1 [schedule]
	// Schedule string .spec.schedule
	// Keep integer .spec.keep
	// Age date .metadata.creationTimestamp
}
