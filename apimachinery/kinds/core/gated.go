package core

// Gated is a field of a feature that is off in v1.37, found by its name: such fields come and go with the API's
// releases.
type Gated[T any] struct{ field gated[T] }

// GatedField finds a field of T; one that T does not have is never there.
func GatedField[T any](name string) Gated[T] { return Gated[T]{gatedField[T](name)} }

// Blank empties the field, if there is one.
func (g Gated[T]) Blank(in *T) { g.field.blank(in) }
