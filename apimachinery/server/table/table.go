package table

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/bedplate/bedplate/apimachinery"
)

// Renderer renders objects of one view. It never changes and is safe for concurrent use.
type Renderer struct {
	columns     []apimachinery.Column
	definitions []byte
	now         func() time.Time
}

// New makes the renderer of a view, by its columns or, where it has none, by Name and Age. now is the clock that
// ages are reckoned by; nil is time.Now.
//
// A cell that is a metav1.Time or time.Time is shown as its age, as kubectl shows it; nil is an empty cell.
func New(v *apimachinery.View, now func() time.Time) (*Renderer, error) {
	r := &Renderer{columns: v.Columns, now: now}
	if r.columns == nil {
		r.columns = DefaultColumns()
	}
	if now == nil {
		r.now = time.Now
	}
	definitions := make([]metav1.TableColumnDefinition, len(r.columns))
	for i, c := range r.columns {
		if c.Cell == nil {
			return nil, fmt.Errorf("column %q of %v has no Cell", c.Name, v.GroupVersionKind)
		}
		definitions[i] = c.TableColumnDefinition
	}
	var err error
	r.definitions, err = apimachinery.Encode(definitions)
	return r, err
}

// DefaultColumns are Name and Age.
func DefaultColumns() []apimachinery.Column {
	return []apimachinery.Column{Name(), Age()}
}

// Name is the first column of nearly every kind.
func Name() apimachinery.Column {
	return apimachinery.Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
		Cell:                  func(o apimachinery.Object) any { return o.GetName() },
	}
}

// Age is the last column of nearly every kind: the time since creation.
func Age() apimachinery.Column {
	return apimachinery.Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: "Age", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
		Cell:                  func(o apimachinery.Object) any { return o.GetCreationTimestamp() },
	}
}

// ScaleColumns are those of a Scale, whatever it is the scale of.
func ScaleColumns() []apimachinery.Column {
	number := func(name, description string, cell func(*autoscalingv1.Scale) int32) apimachinery.Column {
		return apimachinery.Column{
			TableColumnDefinition: metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description},
			Cell: func(o apimachinery.Object) any {
				s, ok := o.(*autoscalingv1.Scale)
				if !ok {
					return nil
				}
				return int64(cell(s))
			},
		}
	}
	return []apimachinery.Column{
		Name(),
		number("Desired", autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"], func(s *autoscalingv1.Scale) int32 { return s.Spec.Replicas }),
		number("Available", autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"], func(s *autoscalingv1.Scale) int32 { return s.Status.Replicas }),
		Age(),
	}
}

// Options say how a table is wanted.
type Options struct {
	// Version is that of meta.k8s.io: "v1" (default) or "v1beta1".
	Version string
	// Include is how much of each object a row carries: "Metadata" (default), "None" or "Object".
	Include metav1.IncludeObjectPolicy
	// NoHeaders leaves the column definitions out: all events of a watch but the first.
	NoHeaders bool
}

func (o *Options) version() string {
	if o.Version == "" {
		return "v1"
	}
	return o.Version
}

// AppendHead appends a table up to its first row. Rows follow, with commas between them, then [Tail].
func (r *Renderer) AppendHead(dst []byte, list metav1.ListMeta, o Options) ([]byte, error) {
	meta, err := apimachinery.Encode(list)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `{"kind":"Table","apiVersion":"meta.k8s.io/`...)
	dst = append(append(dst, o.version()...), `","metadata":`...)
	dst = append(append(dst, meta...), `,"columnDefinitions":`...)
	if o.NoHeaders {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, r.definitions...)
	}
	return append(dst, `,"rows":[`...), nil
}

// Tail ends a table.
const Tail = `]}`

// AppendRow appends one row. obj is of the view's Go type and only read; raw is its JSON as the client would get
// it, resourceVersion included.
func (r *Renderer) AppendRow(dst []byte, obj apimachinery.Object, raw []byte, o Options) ([]byte, error) {
	dst = append(dst, `{"cells":[`...)
	now := r.now()
	for i, c := range r.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendCell(dst, c.Cell(obj), now); err != nil {
			return dst, fmt.Errorf("column %s of %s: %w", c.Name, obj.GetName(), err)
		}
	}
	dst = append(dst, `],"object":`...)
	switch o.Include {
	case metav1.IncludeNone:
		dst = append(dst, "null"...)
	case metav1.IncludeObject:
		dst = append(dst, raw...)
	default:
		var err error
		if dst, err = AppendPartial(dst, raw, o.version()); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// AppendObject appends a whole table of one row: the answer to a get, or a watch's event.
func (r *Renderer) AppendObject(dst []byte, obj apimachinery.Object, raw []byte, o Options) ([]byte, error) {
	dst, err := r.AppendHead(dst, metav1.ListMeta{ResourceVersion: resourceVersion(obj, raw)}, o)
	if err != nil {
		return dst, err
	}
	if dst, err = r.AppendRow(dst, obj, raw, o); err != nil {
		return dst, err
	}
	return append(dst, Tail...), nil
}

// resourceVersion is that of the JSON, as a stored object doesn't know its own.
func resourceVersion(obj apimachinery.Object, raw []byte) string {
	if rv := obj.GetResourceVersion(); rv != "" {
		return rv
	}
	m, err := Metadata(raw)
	if err != nil {
		return ""
	}
	v, err := member(m, `"resourceVersion"`)
	if err != nil {
		return ""
	}
	return string(bytes.Trim(v, `"`))
}

func appendCell(dst []byte, cell any, now time.Time) ([]byte, error) {
	switch c := cell.(type) {
	case nil:
		return append(dst, "null"...), nil
	case string:
		return appendString(dst, c)
	case int:
		return strconv.AppendInt(dst, int64(c), 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(c), 10), nil
	case int64:
		return strconv.AppendInt(dst, c, 10), nil
	case bool:
		return strconv.AppendBool(dst, c), nil
	case metav1.Time:
		return appendString(dst, age(c.Time, now))
	case *metav1.Time:
		if c == nil {
			return appendString(dst, unknown)
		}
		return appendString(dst, age(c.Time, now))
	case time.Time:
		return appendString(dst, age(c, now))
	}
	b, err := apimachinery.Encode(cell)
	return append(dst, b...), err
}

func appendString(dst []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' {
			b, err := json.Marshal(s)
			return append(dst, b...), err
		}
	}
	return append(append(append(dst, '"'), s...), '"'), nil
}

// unknown is shown for the age of what has no time.
const unknown = "<unknown>"

func age(t, now time.Time) string {
	if t.IsZero() {
		return unknown
	}
	return duration.HumanDuration(now.Sub(t))
}
