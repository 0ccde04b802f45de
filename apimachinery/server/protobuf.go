package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

// message is an object's protobuf without resourceVersion, packed into one slice so that the memo of an entry counts
// what it takes: where the resourceVersion goes in the metadata, the length of the metadata, the metadata, the rest.
type message []byte

const (
	packed = 8 // bytes before the metadata

	tagMetadata = 1<<3 | 2 // of every object
	tagVersion  = 6<<3 | 2 // of metadata: resourceVersion
	tagList     = 1<<3 | 2 // of every list: its metadata
	tagItem     = 2<<3 | 2
)

var errNoMetadata = errors.New("protobuf that does not begin with metadata")

// pack takes apart what a generated encoder wrote: it writes fields in the order of their numbers.
func pack(raw []byte) (message, error) {
	if len(raw) == 0 || raw[0] != tagMetadata {
		return nil, errNoMetadata
	}
	size, n := binary.Uvarint(raw[1:])
	if n <= 0 || size > uint64(len(raw)-1-n) {
		return nil, errNoMetadata
	}
	meta, rest := raw[1+n:1+n+int(size)], raw[1+n+int(size):]
	from, to, err := versionIn(meta)
	if err != nil {
		return nil, err
	}
	m := make(message, packed, packed+len(meta)+len(rest))
	binary.LittleEndian.PutUint32(m, uint32(from))
	binary.LittleEndian.PutUint32(m[4:], uint32(len(meta)-(to-from)))
	return append(append(append(m, meta[:from]...), meta[to:]...), rest...), nil
}

// versionIn finds the field resourceVersion in metadata, or where it would be.
func versionIn(meta []byte) (from, to int, err error) {
	for at := 0; at < len(meta); {
		tag := meta[at]
		if tag > tagVersion {
			return at, at, nil
		}
		size, n := binary.Uvarint(meta[at+1:])
		if tag&7 != 2 || n <= 0 || size > uint64(len(meta)-at-1-n) {
			return 0, 0, errNoMetadata
		}
		end := at + 1 + n + int(size)
		if tag == tagVersion {
			return at, end, nil
		}
		at = end
	}
	return len(meta), len(meta), nil
}

func (m message) revAt() int { return packed + int(binary.LittleEndian.Uint32(m)) }
func (m message) meta() int  { return int(binary.LittleEndian.Uint32(m[4:])) }

// metadata is the message of a PartialObjectMetadata, which is the object's own without the rest.
func (m message) metadata() message { return m[:packed+m.meta()] }

// digits is how many bytes a revision has as text; 0 for none.
func digits(rev int64) int {
	n := 0
	for ; rev > 0; rev /= 10 {
		n++
	}
	return n
}

// size is how many bytes appendTo appends.
func (m message) size(rev int64) int {
	meta := m.meta() + 2 + digits(rev)
	return 1 + apimachinery.UvarintLen(meta) + meta + len(m) - packed - m.meta()
}

// appendTo appends the message with a resourceVersion in its place; an empty one if rev is 0.
func (m message) appendTo(dst []byte, rev int64) []byte {
	at, n := m.revAt(), digits(rev)
	dst = append(dst, tagMetadata)
	dst = binary.AppendUvarint(dst, uint64(m.meta()+2+n))
	dst = append(dst, m[packed:at]...)
	dst = append(dst, tagVersion, byte(n))
	if n > 0 {
		dst = strconv.AppendInt(dst, rev, 10)
	}
	return append(dst, m[at:]...)
}

type (
	messageForm     struct{ v *view }
	metaMessageForm struct{}
)

// message returns the entry's protobuf in the view, made once.
func (v *view) message(e *storage.Entry) (message, error) {
	f, err := e.Form(messageForm{v}, func() (any, error) {
		m, err := v.makeMessage(e)
		return []byte(m), err
	})
	if err != nil {
		return nil, err
	}
	return f.([]byte), nil
}

// makeMessage makes the entry's protobuf. The object that it decodes for that is not kept: it takes three times as much.
func (v *view) makeMessage(e *storage.Entry) (message, error) {
	o, err := v.kind.decodeHub(e.Raw, e.Head.Encoding)
	if err == nil && !v.found.Hub() {
		o, err = v.fromHub(o)
	}
	if err != nil {
		return nil, err
	}
	raw, err := apimachinery.MarshalProtobuf(o)
	if err != nil {
		return nil, err
	}
	return pack(raw)
}

// metaMessage returns the entry's metadata in protobuf, made once.
func (k *kind) metaMessage(e *storage.Entry) (message, error) {
	f, err := e.Form(metaMessageForm{}, func() (any, error) {
		o := &metav1.PartialObjectMetadata{}
		if err := apimachinery.DecodeMetadata(e.Raw, &o.ObjectMeta); err != nil {
			return nil, fmt.Errorf("decode metadata: %w", err)
		}
		raw, err := o.Marshal()
		if err != nil {
			return nil, err
		}
		m, err := pack(raw)
		return []byte(m), err
	})
	if err != nil {
		return nil, err
	}
	return f.([]byte), nil
}

// message is the entry in the form asked for, in protobuf.
func (c *call) message(e *storage.Entry) (message, error) {
	if c.wantsMetadata() {
		return c.k.metaMessage(e)
	}
	return c.v.message(e)
}

// inProtobuf says whether the answer is to be protobuf.
func (c *call) inProtobuf() bool { return c.form.Media == apimachinery.Protobuf }

// itemKind is what each object of the answer says that it is.
func (c *call) itemKind() schema.GroupVersionKind {
	if c.wantsMetadata() {
		return schema.GroupVersionKind{Group: metav1.GroupName, Version: c.form.As.Version, Kind: wire.AsMetadata}
	}
	return c.v.gvk
}

// listKind is what a list says that it is.
func (c *call) listKind() schema.GroupVersionKind {
	gvk := c.itemKind()
	if gvk == c.v.gvk {
		return gvk.GroupVersion().WithKind(c.v.found.View.ListKind)
	}
	gvk.Kind += "List"
	return gvk
}

// appendMessage appends an object in its envelope.
func appendMessage(dst []byte, gvk schema.GroupVersionKind, m message, rev int64) []byte {
	dst = apimachinery.AppendEnvelope(dst, gvk, m.size(rev))
	dst = m.appendTo(dst, rev)
	return append(dst, apimachinery.EnvelopeTail...)
}

// answerProtobuf responds with one object.
func (c *call) answerProtobuf(code int, e *storage.Entry) (*apimachinery.Response, error) {
	m, err := c.message(e)
	if err != nil {
		return nil, err
	}
	gvk := c.itemKind()
	body := appendMessage(make([]byte, 0, apimachinery.EnvelopeLen(gvk, m.size(e.Rev))), gvk, m, e.Rev)
	return &apimachinery.Response{Code: code, ContentType: apimachinery.Protobuf, Body: body}, nil
}
