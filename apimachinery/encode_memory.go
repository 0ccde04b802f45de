package apimachinery

import (
	"reflect"
	"unsafe"
)

// ref is the address of a Go value whose type a plan knows. It is the only place of this package that goes round
// the type system, because a walk by reflect.Value takes two thirds longer. What makes it safe: a ref is only
// made of a pointer that reflect gave (refOf), and is only moved by offsets and sizes that reflect gave for the type
// that lies there, so it never leaves the allocation that it points into, and keeps that alive.
type ref struct{ at unsafe.Pointer }

// refOf returns the address that a pointer holds, or that of a slice's first element.
func refOf(pointer reflect.Value) ref { return ref{pointer.UnsafePointer()} }

// as returns the value as what it is: T must have the memory layout of the value's type.
func as[T any](r ref) *T { return (*T)(r.at) }

// field returns the part of a struct, or the element of an array, that lies at an offset.
func (r ref) field(offset uintptr) ref { return ref{unsafe.Add(r.at, offset)} }

// pointee follows a pointer; ok is false where it is nil.
func (r ref) pointee() (to ref, ok bool) {
	to.at = *(*unsafe.Pointer)(r.at)
	return to, to.at != nil
}

// point makes a pointer hold the address that another has.
func (r ref) point(to ref) { *(*unsafe.Pointer)(r.at) = to.at }

// wordSize is the size of a pointer, and of a length.
const wordSize = unsafe.Sizeof(uintptr(0))

// zeroWord says whether a word is zero: a nil pointer, map or interface at offset 0 of one; the length of a string or a
// slice at wordSize.
func (r ref) zeroWord(offset uintptr) bool { return *(*uintptr)(unsafe.Add(r.at, offset)) == 0 }

// elements returns the place of a slice's first element, and their number.
func (r ref) elements() (first ref, n int) {
	s := *(*[]byte)(r.at)
	return ref{unsafe.Pointer(unsafe.SliceData(s))}, len(s)
}

// value returns the value for reflect to work on; it is addressable and can be set.
func (r ref) value(t reflect.Type) reflect.Value { return r.pointer(t).Elem() }

// pointer returns a pointer to the value.
func (r ref) pointer(t reflect.Type) reflect.Value { return reflect.NewAt(t, r.at) }
