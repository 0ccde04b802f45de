package wire

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// connectOptions makes the options of a core connector, nil if it is none.
func connectOptions(gr schema.GroupResource, sub string) runtime.Object {
	if gr.Group != "" {
		return nil
	}
	switch gr.Resource + "/" + sub {
	case "pods/log":
		return &corev1.PodLogOptions{}
	case "pods/exec":
		return &corev1.PodExecOptions{}
	case "pods/attach":
		return &corev1.PodAttachOptions{}
	case "pods/portforward":
		return &corev1.PodPortForwardOptions{}
	case "pods/proxy":
		return &corev1.PodProxyOptions{}
	case "services/proxy":
		return &corev1.ServiceProxyOptions{}
	case "nodes/proxy":
		return &corev1.NodeProxyOptions{}
	}
	return nil
}

// parseOptions reads the options of a verb from a query. Parameters that it doesn't know are ignored.
func parseOptions(t *target, verb string, q url.Values) (runtime.Object, error) {
	if o := connectOptions(t.GroupResource(), t.sub); o != nil {
		err := fromQuery(q, reflect.ValueOf(o).Elem())
		setProxyPath(o, t.rest)
		return o, err
	}
	switch verb {
	case apimachinery.VerbGet:
		o := &metav1.GetOptions{}
		return o, metav1.Convert_url_Values_To_v1_GetOptions(&q, o, nil)
	case apimachinery.VerbCreate:
		o := &metav1.CreateOptions{}
		return o, metav1.Convert_url_Values_To_v1_CreateOptions(&q, o, nil)
	case apimachinery.VerbUpdate:
		o := &metav1.UpdateOptions{}
		return o, metav1.Convert_url_Values_To_v1_UpdateOptions(&q, o, nil)
	case apimachinery.VerbPatch:
		o := &metav1.PatchOptions{}
		return o, metav1.Convert_url_Values_To_v1_PatchOptions(&q, o, nil)
	case apimachinery.VerbDelete:
		o := &metav1.DeleteOptions{}
		return o, metav1.Convert_url_Values_To_v1_DeleteOptions(&q, o, nil)
	}
	return listOptions(t, verb, q)
}

func listOptions(t *target, verb string, q url.Values) (runtime.Object, error) {
	o := &metav1.ListOptions{}
	if err := metav1.Convert_url_Values_To_v1_ListOptions(&q, o, nil); err != nil {
		return nil, err
	}
	o.Watch = verb == apimachinery.VerbWatch
	if t.watch && t.name != "" {
		o.FieldSelector = strings.TrimPrefix(o.FieldSelector+",metadata.name="+t.name, ",")
	}
	return o, nil
}

func setProxyPath(o runtime.Object, rest string) {
	switch o := o.(type) {
	case *corev1.PodProxyOptions:
		o.Path = rest
	case *corev1.ServiceProxyOptions:
		o.Path = rest
	case *corev1.NodeProxyOptions:
		o.Path = rest
	}
}

// takeProxyPath returns the path of proxy options, and the options without it.
func takeProxyPath(o runtime.Object) (string, runtime.Object) {
	switch o := o.(type) {
	case *corev1.PodProxyOptions:
		return o.Path, nil
	case *corev1.ServiceProxyOptions:
		return o.Path, nil
	case *corev1.NodeProxyOptions:
		return o.Path, nil
	}
	return "", o
}

// fromQuery sets a struct's fields by their JSON names, as Kubernetes reads queries: a bool is true unless it
// says "false" or "0", and the first value counts where one is wanted.
func fromQuery(q url.Values, s reflect.Value) error {
	for i := range s.NumField() {
		name, _, _ := strings.Cut(s.Type().Field(i).Tag.Get("json"), ",")
		values := q[name]
		if name == "" || name == "-" || len(values) == 0 {
			continue
		}
		if err := setField(s.Field(i), values); err != nil {
			return fmt.Errorf("query parameter %s: %w", name, err)
		}
	}
	return nil
}

func setField(f reflect.Value, values []string) error {
	switch {
	case f.Type() == reflect.TypeFor[metav1.Time]():
		t, err := time.Parse(time.RFC3339, values[0])
		f.Set(reflect.ValueOf(metav1.Time{Time: t}))
		return err
	case f.Kind() == reflect.Pointer:
		p := reflect.New(f.Type().Elem())
		f.Set(p)
		return setField(p.Elem(), values)
	case f.Kind() == reflect.Slice:
		list := reflect.MakeSlice(f.Type(), len(values), len(values))
		for i := range values {
			if err := setField(list.Index(i), values[i:i+1]); err != nil {
				return err
			}
		}
		f.Set(list)
		return nil
	}
	return setScalar(f, values[0])
}

func setScalar(f reflect.Value, value string) error {
	switch f.Kind() {
	case reflect.String:
		f.SetString(value)
	case reflect.Bool:
		f.SetBool(!strings.EqualFold(value, "false") && value != "0")
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(value, 10, f.Type().Bits())
		f.SetInt(n)
		return err
	}
	return nil
}

// DeleteOptions returns the options of a delete or deletecollection: those in the body if there is one, else
// those of the Options, else those of the query, as Kubernetes looks for them. They are the caller's own.
func DeleteOptions(r *apimachinery.Request) (*metav1.DeleteOptions, error) {
	out := &metav1.DeleteOptions{}
	if len(r.Body) > 0 {
		return out, decodeDelete(r, out)
	}
	if o, ok := r.Options.(*metav1.DeleteOptions); ok && o != nil {
		return o.DeepCopy(), nil
	}
	if r.HTTP == nil {
		return out, nil
	}
	q := r.HTTP.URL.Query()
	if err := metav1.Convert_url_Values_To_v1_DeleteOptions(&q, out, nil); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return out, nil
}

func decodeDelete(r *apimachinery.Request, out *metav1.DeleteOptions) error {
	body, err := r.Body, error(nil)
	switch r.ContentType {
	case apimachinery.Protobuf:
		body, err = apimachinery.FromProtobuf(body, out)
	case "", "*/*", apimachinery.JSON, apimachinery.YAML:
		body, _, err = apimachinery.ToJSON(body, r.ContentType)
	default:
		return UnsupportedMedia(r.ContentType, apimachinery.JSON, apimachinery.YAML, apimachinery.Protobuf)
	}
	if err == nil {
		err = apimachinery.DecodeLoose(body, out)
	}
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("decode DeleteOptions: %v", err))
	}
	if out.Kind != "" && out.Kind != "DeleteOptions" {
		return apierrors.NewBadRequest(fmt.Sprintf("the body of a delete must be DeleteOptions, not %s", out.Kind))
	}
	return nil
}
