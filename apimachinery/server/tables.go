package server

import (
	"fmt"
	"strconv"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/table"
	"github.com/bedplate/bedplate/storage"
)

// tableOptions is how the client wants its table.
func (c *call) tableOptions() (table.Options, error) {
	o := table.Options{Version: c.form.As.Version, Include: c.form.Include}
	errs := validation.ValidateTableOptions(&metav1.TableOptions{IncludeObject: o.Include})
	if len(errs) > 0 {
		return o, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs[0]))
	}
	return o, nil
}

// table renders entries as one table.
func (c *call) table(entries []*storage.Entry, rev int64, meta listMeta) ([]byte, error) {
	o, err := c.tableOptions()
	if err != nil {
		return nil, err
	}
	render, err := c.v.renderer()
	if err != nil {
		return nil, err
	}
	list := metav1.ListMeta{Continue: meta.Continue, RemainingItemCount: meta.Remaining}
	if rev > 0 {
		list.ResourceVersion = strconv.FormatInt(rev, 10)
	}
	out, err := render.AppendHead(make([]byte, 0, 1024+256*len(entries)), list, o)
	if err != nil {
		return nil, err
	}
	var scratch []byte
	for i, e := range entries {
		if i > 0 {
			out = append(out, ',')
		}
		if out, scratch, err = c.appendRow(out, scratch, render, e, e.Rev, o); err != nil {
			return nil, err
		}
	}
	return append(out, table.Tail+"\n"...), nil
}

// scaleTable renders a scale, which has columns of its own.
func (c *call) scaleTable(o *autoscalingv1.Scale) ([]byte, error) {
	options, err := c.tableOptions()
	if err != nil {
		return nil, err
	}
	render, err := table.New(&apimachinery.View{GroupVersionKind: c.sub.Kind, Columns: table.ScaleColumns()}, c.s.now)
	if err != nil {
		return nil, err
	}
	raw, err := apimachinery.Encode(o)
	if err != nil {
		return nil, err
	}
	return render.AppendObject(nil, o, raw, options)
}

// appendRow appends the row of an entry as of a revision. scratch is a buffer to use again.
func (c *call) appendRow(dst, scratch []byte, render *table.Renderer, e *storage.Entry, rev int64, o table.Options) (out, again []byte, err error) {
	obj, err := c.v.object(e)
	if err != nil {
		return dst, scratch, err
	}
	f, err := c.v.form(e)
	if err != nil {
		return dst, scratch, err
	}
	scratch = f.appendTo(scratch[:0], rev)
	out, err = render.AppendRow(dst, obj, scratch, o)
	return out, scratch, err
}

// toYAML converts the JSON of an answer.
func toYAML(body []byte) ([]byte, error) { return yaml.JSONToYAML(body) }
