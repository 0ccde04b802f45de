package apimachinery

import (
	"bytes"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
)

// Protobuf is the media type of Kubernetes' own binary encoding: built-in kinds only, inside an envelope.
const Protobuf = "application/vnd.kubernetes.protobuf"

// protobufMagic begins every envelope: "k8s" and a zero byte.
var protobufMagic = []byte("k8s\x00")

// FromProtobuf reads an envelope whose content is of into's Go type, and returns the content as JSON. into must
// have a generated Unmarshal, as every type of k8s.io/api has; it is overwritten.
func FromProtobuf(body []byte, into runtime.Object) ([]byte, error) {
	rest, ok := bytes.CutPrefix(body, protobufMagic)
	if !ok {
		return nil, errors.New("the body is no Kubernetes protobuf: it does not begin with \"k8s\\x00\"")
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(rest); err != nil {
		return nil, fmt.Errorf("decode protobuf envelope: %w", err)
	}
	o, ok := into.(interface{ Unmarshal([]byte) error })
	if !ok {
		return nil, fmt.Errorf("%s has no protobuf encoding: send JSON", envelope.Kind)
	}
	if err := o.Unmarshal(envelope.Raw); err != nil {
		return nil, fmt.Errorf("decode protobuf %s: %w", envelope.Kind, err)
	}
	into.GetObjectKind().SetGroupVersionKind(envelope.GroupVersionKind())
	return Encode(into)
}
