package client

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
)

// Subresource is the door to a subresource with a kind of its own: scale, binding, eviction, token.
type Subresource[S interface {
	*E
	runtime.Object
}, E any, T apimachinery.Object] struct {
	of   Resource[T]
	name string
}

// Sub returns the door to a subresource of r whose kind is *E:
//
//	scale, err := client.Sub[autoscalingv1.Scale](deployments, "scale").Get(ctx, "default", "web")
func Sub[E any, S interface {
	*E
	runtime.Object
}, T apimachinery.Object](r Resource[T], name string) Subresource[S, E, T] {
	return Subresource[S, E, T]{of: r, name: name}
}

// Get reads the subresource of one object.
func (s Subresource[S, E, T]) Get(ctx context.Context, namespace, name string, opts ...Option) (S, error) {
	return s.do(ctx, apimachinery.VerbGet, onGet, namespace, name, nil, opts)
}

// Create sends in to the subresource. The answer is nil where the server says no more than Success (binding,
// eviction).
func (s Subresource[S, E, T]) Create(ctx context.Context, namespace, name string, in S, opts ...Option) (S, error) {
	return s.do(ctx, apimachinery.VerbCreate, onCreate, namespace, name, in, opts)
}

// Update replaces the subresource.
func (s Subresource[S, E, T]) Update(ctx context.Context, namespace, name string, in S, opts ...Option) (S, error) {
	return s.do(ctx, apimachinery.VerbUpdate, onUpdate, namespace, name, in, opts)
}

// Patch changes the subresource by a patch, as [Resource.Patch].
func (s Subresource[S, E, T]) Patch(ctx context.Context, namespace, name string, t types.PatchType, patch []byte, opts ...Option) (S, error) {
	on := onPatch
	if t == types.ApplyYAMLPatchType {
		on |= onApply
	}
	out, err := s.send(ctx, apimachinery.VerbPatch, on, namespace, name, patch, string(t), opts)
	return out, s.of.op(apimachinery.VerbPatch, namespace, name, s.name, err)
}

func (s Subresource[S, E, T]) do(ctx context.Context, verb string, on verbs, namespace, name string, in S, opts []Option) (S, error) {
	var body []byte
	if in != nil && s.of.err == nil {
		var err error
		if body, err = s.encode(in); err != nil {
			return nil, s.of.op(verb, namespace, name, s.name, err)
		}
	}
	out, err := s.send(ctx, verb, on, namespace, name, body, apimachinery.JSON, opts)
	return out, s.of.op(verb, namespace, name, s.name, err)
}

// encode sets the kind that the registry declares for the subresource, if it does.
func (s Subresource[S, E, T]) encode(in S) ([]byte, error) {
	kind := in.GetObjectKind().GroupVersionKind()
	if f, ok := s.of.c.registry.ForResource(s.of.gvr); ok && f.Resource.Subs[s.name].Kind != (schema.GroupVersionKind{}) {
		kind = f.Resource.Subs[s.name].Kind
	}
	return s.of.encode(in, kind)
}

func (s Subresource[S, E, T]) send(ctx context.Context, verb string, on verbs, namespace, name string, in []byte, contentType string, opts []Option) (S, error) {
	if s.of.err != nil {
		return nil, s.of.err
	}
	c, err := s.of.writing(on, opts)
	if err != nil {
		return nil, err
	}
	q := s.of.request(ctx, verb, namespace, name, s.name, c)
	q.Accept = ""
	if verb == apimachinery.VerbGet {
		q.Options = c.getOptions()
	} else {
		q.Options, q.Body, q.ContentType = c.storeOptions(verb), in, contentType
	}
	body, err := s.of.send(ctx, q, c)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, c, verb, body)
}

func (s Subresource[S, E, T]) answer(ctx context.Context, c *call, verb string, body []byte) (S, error) {
	out := S(new(E))
	tm, err := apimachinery.TypeMetaOf(body)
	if err != nil {
		return nil, err
	}
	if tm.Kind == "Status" {
		return nil, nil
	}
	if err := apimachinery.DecodeLoose(body, out); err != nil {
		return nil, err
	}
	if verb != apimachinery.VerbGet {
		s.of.wrote(ctx, c, out, false)
	}
	return out, nil
}
