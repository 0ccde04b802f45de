package cel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/cel/internal/library"
)

const (
	deviceVar   = "device"
	deviceType  = "kubernetes.DRADevice"
	maxSelector = resourcev1.CELSelectorExpressionMaxLength
)

// Device is what a selector sees. Attributes and capacities whose name has no domain are in that of the driver.
type Device struct {
	Driver                   string
	AllowMultipleAllocations bool
	Attributes               map[resourcev1.QualifiedName]resourcev1.DeviceAttribute
	Capacity                 map[resourcev1.QualifiedName]resourcev1.DeviceCapacity
}

// Selector is a compiled selector of devices. It may be used concurrently.
type Selector struct{ program celgo.Program }

// Selector compiles a selector. The error is an *[Error], forbidden if the selector may cost too much.
func (e *Environment) Selector(text string) (*Selector, error) {
	if len(text) > maxSelector {
		return nil, &Error{Type: field.ErrorTypeTooLong, Detail: fmt.Sprintf("may not be more than %d bytes", maxSelector)}
	}
	env, err := e.devices()
	if err != nil {
		return nil, internal(fmt.Errorf("unexpected error loading CEL environment: %w", err))
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, issue(issues)
	}
	if t := ast.OutputType(); t != celgo.BoolType && t != celgo.AnyType {
		return nil, invalid(fmt.Sprintf("must evaluate to bool or the unknown type, not %v", t))
	}
	program, err := env.Program(ast, celgo.CostLimit(resourcev1.CELSelectorExpressionMaxCost))
	if err != nil {
		return nil, internal(fmt.Errorf("program instantiation failed: %w", err))
	}
	cost, err := env.EstimateCost(ast, &library.Costs{Sizes: sizes{declareDevice(map[string]*decl{}), deviceVar}})
	switch {
	case err != nil:
		return nil, internal(fmt.Errorf("cost estimation failed: %w", err))
	case cost.Max > resourcev1.CELSelectorExpressionMaxCost:
		return nil, &Error{Type: field.ErrorTypeForbidden, Detail: "too complex, exceeds cost limit"}
	}
	return &Selector{program}, nil
}

// Matches says whether a device is selected.
func (s *Selector) Matches(ctx context.Context, d Device) (bool, error) {
	attributes, err := domains(d.Attributes, d.Driver, attribute)
	if err != nil {
		return false, err
	}
	capacity, err := domains(d.Capacity, d.Driver, func(c resourcev1.DeviceCapacity) (any, error) {
		return library.Quantity{Quantity: &c.Value}, nil
	})
	if err != nil {
		return false, err
	}
	result, _, err := eval(ctx, s.program, map[string]any{deviceVar: map[string]any{
		"driver": d.Driver, "allowMultipleAllocations": d.AllowMultipleAllocations,
		"attributes": orEmpty{types.NewStringInterfaceMap(types.DefaultTypeAdapter, attributes)},
		"capacity":   orEmpty{types.NewStringInterfaceMap(types.DefaultTypeAdapter, capacity)},
	}})
	if err != nil {
		return false, err
	}
	matches, ok := result.(types.Bool)
	if !ok {
		return false, fmt.Errorf("CEL result of type %s could not be converted to bool", result.Type().TypeName())
	}
	return bool(matches), nil
}

// domains sorts qualified names by their domain.
func domains[T any](of map[resourcev1.QualifiedName]T, driver string, convert func(T) (any, error)) (map[string]any, error) {
	all := map[string]any{}
	for name, v := range of {
		made, err := convert(v)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		domain, id, found := strings.Cut(string(name), "/")
		if !found {
			domain, id = driver, string(name)
		}
		in, ok := all[domain].(map[string]any)
		if !ok {
			in = map[string]any{}
			all[domain] = in
		}
		in[id] = made
	}
	return all, nil
}

func attribute(a resourcev1.DeviceAttribute) (any, error) {
	switch {
	case a.IntValue != nil:
		return *a.IntValue, nil
	case a.BoolValue != nil:
		return *a.BoolValue, nil
	case a.StringValue != nil:
		return *a.StringValue, nil
	case a.VersionValue != nil:
		v, err := library.ParseSemver(*a.VersionValue)
		if err != nil {
			return nil, fmt.Errorf("parse semantic version: %w", err)
		}
		return v, nil
	}
	return nil, errors.New("unsupported attribute value")
}

// orEmpty finds an empty map for a domain that a device has nothing in.
type orEmpty struct{ traits.Mapper }

// Find always finds something.
func (m orEmpty) Find(key ref.Val) (ref.Val, bool) {
	if v, ok := m.Mapper.Find(key); ok {
		return v, true
	}
	return types.NewStringInterfaceMap(types.DefaultTypeAdapter, map[string]any{}), true
}

// declareDevice has the bounds of all that a device can have, for estimates.
func declareDevice(into map[string]*decl) *decl {
	domain := scalar(celgo.StringType, resourcev1.DeviceMaxDomainLength, leastString)
	id := scalar(celgo.StringType, resourcev1.DeviceMaxIDLength, leastString)
	const many = resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice
	named := func(key, elem *decl, open bool) *decl {
		return &decl{typ: celgo.MapType(key.typ, elem.typ), key: key, elem: elem, most: many, least: 2, open: open}
	}
	value := scalar(celgo.AnyType, resourcev1.DeviceAttributeMaxValueLength, 1)
	return object(deviceType, into, map[string]*decl{
		"driver":                   scalar(celgo.StringType, resourcev1.DriverNameMaxLength, leastString),
		"allowMultipleAllocations": scalar(celgo.BoolType, 1, leastBool),
		"attributes":               named(domain, named(id, value, true), false),
		"capacity":                 named(domain, named(id, scalar(library.QuantityType, 0, 8), false), false),
	})
}

func newDevices(e *Environment) (*celgo.Env, error) {
	base, err := e.base()
	if err != nil {
		return nil, err
	}
	decls := map[string]*decl{}
	device := declareDevice(decls)
	known := newProvider(base, decls)
	return base.Extend(celgo.CustomTypeProvider(known), celgo.CustomTypeAdapter(known),
		celgo.Variable(deviceVar, device.typ), ext.Bindings(ext.BindingsVersion(0)))
}
