package cel

import (
	"fmt"
	"sync"
	"sync/atomic"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"

	"github.com/bedplate/bedplate/apimachinery/cel/internal/library"
)

// Environment is the language as Kubernetes v1.37 has it for new expressions. All schemas and policies of a server
// share one. It is made by [New], costs nothing until the first expression, and may be used concurrently.
type Environment struct {
	base    func() (*celgo.Env, error)
	devices func() (*celgo.Env, error)
	// plain is the scope of expressions that stand alone.
	plain *Scope
	// names counts schemas: each gets type names of its own, so that nobody relies on them.
	names atomic.Uint64
}

// New returns an Environment.
func New() *Environment {
	e := &Environment{base: sync.OnceValues(newBase)}
	e.devices = sync.OnceValues(func() (*celgo.Env, error) { return newDevices(e) })
	e.plain = &Scope{e: e}
	return e
}

func newBase() (*celgo.Env, error) {
	std, err := celgo.NewEnv()
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	full, err := std.Extend(celgo.Lib(&language{}))
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	// A registry would be copied with every environment that is made from this one; a frozen one isn't.
	fixed := frozen{full.CELTypeProvider(), full.CELTypeAdapter()}
	env, err := full.Extend(celgo.CustomTypeProvider(fixed), celgo.CustomTypeAdapter(fixed))
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	return env, nil
}

// frozen is a registry of types to which nothing is added.
type frozen struct {
	types.Provider
	types.Adapter
}

func (f frozen) NativeToValue(v any) ref.Val { return f.Adapter.NativeToValue(v) }

// language is what is switched on: the standard options, the extensions, and the libraries of Kubernetes.
type language struct{}

func (*language) LibraryName() string { return "kubernetes" }

func (*language) CompileOptions() []celgo.EnvOption {
	return append([]celgo.EnvOption{
		celgo.HomogeneousAggregateLiterals(),
		celgo.EagerlyValidateDeclarations(true),
		celgo.DefaultUTCTimeZone(true),
		celgo.CrossTypeNumericComparisons(true),
		celgo.OptionalTypes(),
		celgo.CostEstimatorOptions(checker.PresenceTestHasCost(false)),
		celgo.ASTValidators(
			celgo.ValidateDurationLiterals(),
			celgo.ValidateTimestampLiterals(),
			celgo.ValidateRegexLiterals(),
			celgo.ValidateHomogeneousAggregateLiterals(),
		),
		ext.Strings(ext.StringsVersion(2)),
		ext.Sets(),
		ext.TwoVarComprehensions(),
		ext.Lists(ext.ListsVersion(3)),
	}, library.Common()...)
}

func (*language) ProgramOptions() []celgo.ProgramOption {
	return []celgo.ProgramOption{
		celgo.EvalOptions(celgo.OptOptimize, celgo.OptTrackCost),
		celgo.CostLimit(PerCallLimit),
		celgo.CostTrackerOptions(interpreter.PresenceTestHasCost(false)),
		celgo.CostTracking(&library.Costs{}),
		celgo.InterruptCheckFrequency(checkFrequency),
	}
}
