package apimachinery_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// A caller that writes many objects uses one buffer for all of them.
func ExampleAppendEncode() {
	var buffer []byte
	for _, name := range []string{"a", "b"} {
		var err error
		buffer, err = apimachinery.AppendEncode(buffer[:0], &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": "<v>"},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(string(buffer))
	}
	// Output:
	// {"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"k":"<v>"}}
	// {"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"b"},"data":{"k":"<v>"}}
}

// A decoder is made once and kept.
func ExampleQuickDecoder() {
	q := apimachinery.NewQuickDecoder()
	var c corev1.ConfigMap
	strict, err := q.Decode([]byte(`{"data":{"k":"v"},"dta":{}}`), &c)
	fmt.Println(c.Data["k"], strict, err)
	// Output: v [unknown field "dta"] <nil>
}
