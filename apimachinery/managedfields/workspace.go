package managedfields

import (
	"bytes"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// workspace is the memory of one call. Workspaces are kept with the Type whose objects they served: most of the
// time of a call would otherwise go to the garbage collector. What comes out of a call never lies in one.
type workspace struct {
	home      *sync.Pool // nil: none
	live, obj tape
	patch     tape
	walker    walker
	merger    merger
	owned     owned
	fields    fieldsReader
	out       []byte
}

// largestKept bounds, in bytes of JSON, the objects whose workspaces are kept.
const largestKept = 64 << 10

type workspacesKey struct{}

func borrow(t *structural.Type) *workspace {
	if t == nil {
		return &workspace{}
	}
	pool, _ := t.Derived(workspacesKey{}, func(*structural.Type) (any, error) { return &sync.Pool{}, nil })
	home := pool.(*sync.Pool)
	if ws, ok := home.Get().(*workspace); ok {
		return ws
	}
	return &workspace{home: home}
}

func (ws *workspace) giveBack() {
	if ws.home == nil || len(ws.live.text) > largestKept || len(ws.obj.text) > largestKept || len(ws.patch.text) > largestKept || cap(ws.fields.arena) > largestKept/16 {
		return
	}
	ws.live.text, ws.obj.text, ws.patch.text, ws.fields.tape.text = "", "", "", ""
	for _, nodes := range [][]node{ws.walker.nodes, ws.walker.arena, ws.owned.nodes, ws.owned.arena, ws.fields.arena} {
		clear(nodes[:cap(nodes)]) // they hold parts of the texts
	}
	ws.fields.arena = ws.fields.arena[:0]
	ws.home.Put(ws)
}

// difference compares the new object with the live one, or with the zero value of its type.
func (ws *workspace) difference(t *structural.Type, live, obj []byte, reset Set) ([]node, error) {
	if live == nil {
		live = []byte("{}")
		if t != nil {
			var err error
			if live, err = t.Zero(); err != nil {
				return nil, err
			}
		}
	} else if bytes.Equal(live, obj) {
		return nil, nil
	}
	if err := ws.live.read(live); err != nil {
		return nil, fmt.Errorf("live object: %w", err)
	}
	if err := ws.obj.read(obj); err != nil {
		return nil, fmt.Errorf("new object: %w", err)
	}
	ws.walker.l, ws.walker.r = &ws.live, &ws.obj
	return ws.walker.changes(t, reset)
}

// decode reads FieldsV1; see fieldsReader.
func (ws *workspace) decode(f *metav1.FieldsV1, t *structural.Type) (nodes []node, same bool, err error) {
	if t != nil && f != nil && len(f.GetRawBytes()) <= largestKeptOf {
		return setsOf(t).decode(f, t)
	}
	return ws.fields.decode(f, t)
}

// encode writes FieldsV1.
func (ws *workspace) encode(nodes []node) *metav1.FieldsV1 {
	ws.out = encode(ws.out[:0], nodes)
	f := &metav1.FieldsV1{}
	f.SetRawBytes(ws.out) // copies
	return f
}
