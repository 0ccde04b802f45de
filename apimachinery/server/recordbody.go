package server

import (
	"bytes"
	"encoding/json"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery"
)

const (
	// maxRecorded is the longest answer that is told of whole, in bytes.
	maxRecorded = 8 << 20
	truncated   = "audit.k8s.io/truncated"
)

// carries notes the object that a request carries, in the request's version with its defaults.
func (c *call) carries(o apimachinery.Object, hub bool) {
	a := c.record
	if a == nil || a.rule.Level == AuditNone {
		return
	}
	a.ev.Namespace, a.ev.Name = or(a.ev.Namespace, o.GetNamespace()), or(a.ev.Name, o.GetName())
	a.ev.UID, a.ev.ResourceVersion = or(a.ev.UID, o.GetUID()), or(a.ev.ResourceVersion, o.GetResourceVersion())
	if a.rule.Level < AuditRequest || a.ev.Request != nil {
		return
	}
	var err error
	if o = deepCopy(o); hub {
		if o, err = c.v.fromHub(o); err != nil {
			return // the request fails by it
		}
	}
	if raw, err := apimachinery.Encode(plain(o)); err == nil {
		a.ev.Request = a.bare(raw)
	}
}

// sentRaw notes a patch, or the options of a delete.
func (a *record) sentRaw(body []byte, contentType string) {
	if a != nil && a.rule.Level >= AuditRequest && len(body) > 0 && a.ev.Request == nil {
		a.ev.Request = toRecord(body, contentType)
	}
}

// toRecord is a body as JSON; nil if it is neither JSON nor YAML.
func toRecord(body []byte, contentType string) []byte {
	if json.Valid(body) {
		return bytes.TrimSpace(body)
	}
	switch contentType {
	case apimachinery.YAML, "application/apply-patch+yaml":
		if out, err := yaml.YAMLToJSON(body); err == nil {
			return out
		}
	}
	return nil
}

// answered notes what is answered to a request about a resource.
func (a *record) answered(resp *apimachinery.Response, err error) {
	if a == nil || a.rule.Level == AuditNone {
		return
	}
	if err != nil {
		a.refused(err)
		return
	}
	a.ev.Code = int32(or(resp.Code, 200))
	if bytes.HasPrefix(resp.Body, []byte(`{"kind":"Status",`)) {
		var st metav1.Status
		if apimachinery.DecodeLoose(resp.Body, &st) == nil {
			a.ev.Status = &metav1.Status{Status: st.Status, Message: st.Message, Reason: st.Reason, Details: st.Details, Code: st.Code}
		}
	}
	if a.rule.Level < AuditRequestResponse || a.long {
		return
	}
	switch {
	case resp.Object != nil:
		raw, _ := apimachinery.Encode(plain(resp.Object)) // it was decoded from its encoding
		a.ev.Response = a.bare(raw)
	case len(resp.Body) > maxRecorded:
		a.annotate(truncated, "true")
	case resp.Body != nil:
		a.ev.Response = a.bare(toRecord(resp.Body, resp.ContentType))
	case resp.Stream != nil && resp.ContentType == apimachinery.JSON:
		resp.Stream = &copying{ReadCloser: resp.Stream, a: a}
	}
}

// bare leaves out managedFields if the rule says so.
func (a *record) bare(raw []byte) []byte {
	if !a.rule.OmitManagedFields || !bytes.Contains(raw, []byte(`"managedFields"`)) {
		return raw
	}
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&o) != nil {
		return nil
	}
	unmanage(o)
	for _, item := range array(o["items"]) {
		unmanage(item)
	}
	for _, row := range array(o["rows"]) {
		if row, ok := row.(map[string]any); ok {
			unmanage(row["object"])
		}
	}
	out, _ := apimachinery.Encode(o) // it was decoded
	return out
}

func array(v any) []any {
	list, _ := v.([]any)
	return list
}

func unmanage(o any) {
	if o, ok := o.(map[string]any); ok {
		if meta, ok := o["metadata"].(map[string]any); ok {
			delete(meta, "managedFields")
		}
	}
}

// copying keeps a copy of a list as it is sent, up to a bound.
type copying struct {
	io.ReadCloser
	a    *record
	kept []byte
	over bool
}

func (c *copying) keep(p []byte) {
	if c.over = c.over || len(c.kept)+len(p) > maxRecorded; c.over {
		c.kept = nil
		return
	}
	c.kept = append(c.kept, p...)
}

func (c *copying) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.keep(p[:n])
	return n, err
}

// WriteTo keeps the stream's own way of writing itself.
func (c *copying) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(io.MultiWriter(w, writerFunc(c.keep)), c.ReadCloser)
}

func (c *copying) Close() error {
	if c.over {
		c.a.annotate(truncated, "true")
	} else if json.Valid(c.kept) {
		c.a.ev.Response = c.a.bare(bytes.TrimSpace(c.kept))
	}
	return c.ReadCloser.Close()
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
