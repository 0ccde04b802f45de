package define

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/bedplate/bedplate/apimachinery"
)

// As is a further version of a kind: T is its Go type, H that of Kind.Object, and the functions convert between them.
// They must not change what they are given.
func As[T, H apimachinery.Object](version string, object T, toHub func(T) (H, error), fromHub func(H) (T, error)) Version {
	return Version{
		Version: version, Object: object,
		ToHub:   func(o apimachinery.Object) (apimachinery.Object, error) { return toHub(o.(T)) },
		FromHub: func(o apimachinery.Object) (apimachinery.Object, error) { return fromHub(o.(H)) },
	}
}

// Convertible is a further version of a kind whose Go type converts itself by the methods ConvertTo and ConvertFrom, as
// kubebuilder has them: each takes the object of the stored version and returns an error.
func Convertible(version string, object apimachinery.Object, hub apimachinery.Object) Version {
	v := Version{Version: version, Object: object}
	hubType := reflect.TypeOf(hub)
	if converts(object, "ConvertTo", hubType) == nil && converts(object, "ConvertFrom", hubType) == nil {
		v.ToHub = func(o apimachinery.Object) (apimachinery.Object, error) {
			return convert(o, "ConvertTo", reflect.New(hubType.Elem()), true)
		}
		v.FromHub = func(o apimachinery.Object) (apimachinery.Object, error) {
			return convert(reflect.New(reflect.TypeOf(object).Elem()).Interface().(apimachinery.Object), "ConvertFrom", reflect.ValueOf(o), false)
		}
	}
	return v
}

// converts says why a method can't be called with a hub.
func converts(object apimachinery.Object, method string, hub reflect.Type) error {
	m := reflect.ValueOf(object).MethodByName(method)
	if !m.IsValid() {
		return fmt.Errorf("%T has no method %s", object, method)
	}
	t := m.Type()
	if t.NumIn() != 1 || hub == nil || !hub.AssignableTo(t.In(0)) || t.NumOut() != 1 || t.Out(0) != reflect.TypeFor[error]() {
		return fmt.Errorf("%s of %T does not take a %v", method, object, hub)
	}
	return nil
}

// convert calls a method of an object with a hub, and returns the hub or the object.
func convert(o apimachinery.Object, method string, hub reflect.Value, wantsHub bool) (apimachinery.Object, error) {
	out := reflect.ValueOf(o).MethodByName(method).Call([]reflect.Value{hub})
	if err, _ := out[0].Interface().(error); err != nil {
		return nil, err
	}
	if !wantsHub {
		return o, nil
	}
	made, ok := hub.Interface().(apimachinery.Object)
	if !ok {
		return nil, errors.New("the stored version is no object")
	}
	return made, nil
}
