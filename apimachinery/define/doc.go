// Package define makes kinds of one's own out of Go types, without a CustomResourceDefinition and without generated
// code: an [apimachinery.Typed], or any type that kubebuilder makes. A server that is given the [Kind]'s Resource
// serves it with all that a definition would bring, and a client that is given it knows the type.
//
//	type WebsiteSpec struct {
//		Image    string `json:"image" doc:"what it runs" schema:"minLength=1"`
//		Replicas int32  `json:"replicas" schema:"default=3,maximum=10" column:"Replicas"`
//	}
//
//	type Website = apimachinery.Typed[WebsiteSpec, struct{}]
//
//	websites := define.Kind{Group: "demo.example.com", Kind: "Website", Object: &Website{}}.Resource()
//
// The tags of the fields say what kubebuilder's markers say:
//
//   - doc is the description in kubectl explain;
//   - schema limits the value, gives its default, says how lists and maps merge, and holds rules of CEL: see
//     [jsonschema.FromGo] for its words;
//   - column is the head of a column of kubectl get, with ",wide" behind it for one of -o wide.
//
// What tags can't say is said by methods of the Spec ([apimachinery.Defaulter], [apimachinery.SpecValidator],
// [apimachinery.SpecUpdateValidator]) or by functions of the Kind. [Defaulting] and [Validating] take what was written
// for controller-runtime's webhooks. [CRDOf] is the definition that others need to serve the same kind.
package define
