package server

import (
	"encoding/binary"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/table"
)

// A frame of a watch in protobuf is a WatchEvent behind its length in four bytes; its object is a RawExtension whose
// raw bytes are an envelope.
const (
	tagEventType   = 1<<3 | 2
	tagEventObject = 2<<3 | 2
	tagExtension   = 1<<3 | 2
)

// appendFrame appends a frame up to the envelope, which has size bytes and follows it.
func appendFrame(dst []byte, typ kwatch.EventType, size int) []byte {
	extension := 1 + apimachinery.UvarintLen(size) + size
	event := 1 + apimachinery.UvarintLen(len(typ)) + len(typ) + 1 + apimachinery.UvarintLen(extension) + extension
	dst = binary.BigEndian.AppendUint32(dst, uint32(event))
	dst = apimachinery.AppendField(dst, tagEventType, string(typ))
	dst = append(dst, tagEventObject)
	dst = binary.AppendUvarint(dst, uint64(extension))
	dst = append(dst, tagExtension)
	return binary.AppendUvarint(dst, uint64(size))
}

// message appends an event with an entry's message.
func (w *watchStream) message(typ kwatch.EventType, m message, rev int64) {
	gvk := w.c.itemKind()
	size := m.size(rev)
	w.buf = appendFrame(w.buf, typ, apimachinery.EnvelopeLen(gvk, size))
	w.buf = appendMessage(w.buf, gvk, m, rev)
}

// other appends an event in the media type of the watch with an object that is no entry.
func (w *watchStream) other(typ kwatch.EventType, o runtime.Object) error {
	if w.c.inProtobuf() {
		envelope, err := apimachinery.EncodeProtobuf(o)
		if err == nil {
			w.buf = append(appendFrame(w.buf, typ, len(envelope)), envelope...)
		}
		return err
	}
	body, err := apimachinery.Encode(o)
	if err == nil {
		w.buf = append(append(append(w.buf, `{"type":"`...), typ...), `","object":`...)
		w.buf = append(append(w.buf, body...), "}\n"...)
	}
	return err
}

// progress is the object of a bookmark: its kind, the revision, and at the end of the initial events the annotation
// that says so.
func (w *watchStream) progress(rev int64, initialEnd bool) apimachinery.Object {
	var o apimachinery.Object = &metav1.PartialObjectMetadata{}
	if !w.c.wantsMetadata() && w.render == nil {
		o = w.c.v.found.New()
	}
	o.GetObjectKind().SetGroupVersionKind(w.c.itemKind())
	o.SetResourceVersion(strconv.FormatInt(rev, 10))
	if initialEnd {
		o.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return o
}

// progressRow appends a bookmark of a table: a row whose object is the bookmark. At the end of the initial events it
// has its metadata, whatever the client wants of other rows.
func (w *watchStream) progressRow(rev int64, initialEnd bool) error {
	o := w.c.v.found.New()
	o.GetObjectKind().SetGroupVersionKind(w.c.v.gvk)
	o.SetResourceVersion(strconv.FormatInt(rev, 10))
	options := w.table
	if initialEnd {
		o.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		if options.Include == metav1.IncludeNone {
			options.Include = metav1.IncludeMetadata
		}
	}
	raw, err := apimachinery.Encode(o)
	if err != nil {
		return err
	}
	w.buf = append(w.buf, `{"type":"BOOKMARK","object":`...)
	if w.buf, err = w.render.AppendHead(w.buf, metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}, options); err != nil {
		return err
	}
	w.table.NoHeaders = true
	if w.buf, err = w.render.AppendRow(w.buf, o, raw, options); err == nil {
		w.buf = append(w.buf, table.Tail+"}\n"...)
	}
	return err
}

// streamType is what a watch is answered in.
func (c *call) streamType() string {
	if c.form.Media == apimachinery.Protobuf {
		return apimachinery.Protobuf + ";stream=watch"
	}
	return apimachinery.JSON
}
