package apimachinery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Protobuf is the media type of Kubernetes' own binary encoding: built-in kinds only, inside an envelope.
const Protobuf = "application/vnd.kubernetes.protobuf"

// ProtobufMagic begins every envelope: "k8s" and a zero byte.
const ProtobufMagic = "k8s\x00"

// HasProtobuf says whether o's Go type has Kubernetes' binary encoding: generated methods of its own, with the
// metadata as field 1. A struct that only embeds some that have, has not.
func HasProtobuf(o runtime.Object) bool {
	if _, ok := o.(runtime.ProtobufReverseMarshaller); !ok {
		return false
	}
	t := reflect.TypeOf(o).Elem() // the methods are a pointer's
	for i := range t.NumField() {
		if f := t.Field(i); f.Name != "TypeMeta" && f.Tag.Get("protobuf") == "" {
			return false
		}
	}
	return true
}

// MarshalProtobuf returns the bare message of o, without the envelope, which has the kind. o must satisfy
// [HasProtobuf].
func MarshalProtobuf(o runtime.Object) ([]byte, error) {
	m, ok := o.(runtime.ProtobufReverseMarshaller)
	if !ok {
		return nil, fmt.Errorf("%T has no protobuf encoding", o)
	}
	out := make([]byte, m.Size())
	n, err := m.MarshalToSizedBuffer(out)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", o, err)
	}
	return out[len(out)-n:], nil
}

// EncodeProtobuf returns o in its envelope. It must have its apiVersion and kind set.
func EncodeProtobuf(o runtime.Object) ([]byte, error) {
	message, err := MarshalProtobuf(o)
	if err != nil {
		return nil, err
	}
	out := AppendEnvelope(make([]byte, 0, len(message)+128), o.GetObjectKind().GroupVersionKind(), len(message))
	return append(append(out, message...), EnvelopeTail...), nil
}

// The fields of runtime.Unknown, the envelope.
const (
	tagTypeMeta   = 1<<3 | 2
	tagAPIVersion = 1<<3 | 2
	tagKind       = 2<<3 | 2
	tagRaw        = 2<<3 | 2
)

// EnvelopeTail follows the message in an envelope: no content encoding, no content type.
const EnvelopeTail = "\x1a\x00\x22\x00"

// AppendEnvelope appends what precedes a message of that many bytes in an envelope; [EnvelopeTail] follows it.
func AppendEnvelope(dst []byte, gvk schema.GroupVersionKind, message int) []byte {
	version, kind := gvk.ToAPIVersionAndKind()
	dst = append(dst, ProtobufMagic...)
	dst = append(dst, tagTypeMeta)
	dst = binary.AppendUvarint(dst, uint64(2+UvarintLen(len(version))+len(version)+UvarintLen(len(kind))+len(kind)))
	dst = AppendField(dst, tagAPIVersion, version)
	dst = AppendField(dst, tagKind, kind)
	dst = append(dst, tagRaw)
	return binary.AppendUvarint(dst, uint64(message))
}

// EnvelopeLen is how many bytes an envelope has with a message of that many bytes in it.
func EnvelopeLen(gvk schema.GroupVersionKind, message int) int {
	return len(AppendEnvelope(nil, gvk, message)) + message + len(EnvelopeTail)
}

// AppendField appends a field of bytes with a tag of one byte.
func AppendField[T string | []byte](dst []byte, tag byte, value T) []byte {
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// UvarintLen is how many bytes protobuf takes for a length.
func UvarintLen(n int) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }

// FromProtobuf reads an envelope whose content is of into's Go type, and returns the content as JSON. into must
// have a generated Unmarshal, as every type of k8s.io/api has; it is overwritten.
func FromProtobuf(body []byte, into runtime.Object) ([]byte, error) {
	rest, ok := bytes.CutPrefix(body, []byte(ProtobufMagic))
	if !ok {
		return nil, errors.New("provided data does not appear to be a protobuf message: it does not begin with \"k8s\\x00\"")
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(rest); err != nil {
		return nil, fmt.Errorf("decode protobuf envelope: %w", err)
	}
	o, ok := into.(interface {
		Reset()
		Unmarshal([]byte) error
	})
	if !ok || !HasProtobuf(into) {
		return nil, fmt.Errorf("%s has no protobuf encoding: send JSON", envelope.Kind)
	}
	if messageDepth(envelope.Raw, maxMessageDepth) > maxMessageDepth {
		return nil, fmt.Errorf("decode protobuf %s: it is nested deeper than %d", envelope.Kind, maxMessageDepth)
	}
	o.Reset()
	if err := o.Unmarshal(envelope.Raw); err != nil {
		return nil, fmt.Errorf("decode protobuf %s: %w", envelope.Kind, err)
	}
	into.GetObjectKind().SetGroupVersionKind(envelope.GroupVersionKind())
	return Encode(into)
}

// maxMessageDepth is how deep messages may lie in each other. The generated readers go as deep as the input does,
// and the schema of a custom resource may lie in itself.
const maxMessageDepth = 1000

// messageDepth is how deep the messages in b lie in each other, at most one more than limit. It knows no types: what
// could be a message counts as one. Each byte is looked at once.
func messageDepth(b []byte, limit int) int {
	deepest := 0
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			break
		}
		b = b[n:]
		switch tag & 7 {
		case 0:
			if _, n = binary.Uvarint(b); n <= 0 {
				return deepest + 1
			}
			b = b[n:]
		case 1, 5:
			if n = 4; tag&7 == 1 {
				n = 8
			}
			if len(b) < n {
				return deepest + 1
			}
			b = b[n:]
		case 2:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return deepest + 1
			}
			if limit > 0 {
				deepest = max(deepest, messageDepth(b[n:n+int(size)], limit-1))
			}
			b = b[n+int(size):]
		default:
			return deepest + 1
		}
	}
	return deepest + 1
}
