package apimachinery

import (
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// jsonField is a field of a struct as JSON shows it; it may lie in embedded structs.
type jsonField struct {
	name   string
	tagged bool
	index  []int
	typ    reflect.Type
	offset uintptr
	// indirect says that an embedded pointer is on the way, so that offset means nothing.
	indirect             bool
	omitEmpty, omitZero  bool
	quoted, twiceAtDepth bool
}

// embedded is a struct whose fields are to be promoted.
type embedded struct {
	field jsonField
	twice bool // at its depth, so that none of its fields can win
}

// jsonFields returns the fields of a struct type in their order: what encoding/json would write. Of several
// fields of one name the shallowest wins, of those the tagged one; where that leaves several, none is shown.
func jsonFields(t reflect.Type) []jsonField {
	found := map[string][]jsonField{}
	visited := map[reflect.Type]bool{}
	for level := []embedded{{field: jsonField{typ: t}}}; len(level) > 0; {
		var below []embedded
		for _, e := range level {
			if visited[e.field.typ] {
				continue
			}
			visited[e.field.typ] = true
			below = promote(e, found, below)
		}
		level = below
	}
	var fields []jsonField
	for _, rivals := range found {
		if f, ok := dominant(rivals); ok {
			fields = append(fields, f)
		}
	}
	slices.SortFunc(fields, func(a, b jsonField) int { return slices.Compare(a.index, b.index) })
	return fields
}

// promote adds the fields of one struct to found, and the structs embedded in it to those of the next level.
func promote(outer embedded, found map[string][]jsonField, below []embedded) []embedded {
	for i := range outer.field.typ.NumField() {
		sf := outer.field.typ.Field(i)
		if !shown(sf) {
			continue
		}
		f := readTag(sf)
		f.index = append(slices.Clone(outer.field.index), i)
		f.offset, f.indirect = outer.field.offset+sf.Offset, outer.field.indirect
		f.twiceAtDepth = outer.twice
		inner := sf.Type
		if inner.Name() == "" && inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if f.tagged || !sf.Anonymous || inner.Kind() != reflect.Struct {
			f.typ = sf.Type
			found[f.name] = append(found[f.name], f)
			continue
		}
		f.indirect = f.indirect || inner != sf.Type
		f.typ = inner
		if at := slices.IndexFunc(below, func(e embedded) bool { return e.field.typ == inner }); at >= 0 {
			below[at].twice = true
		} else {
			below = append(below, embedded{field: f})
		}
	}
	return below
}

// shown says whether a field, or what it embeds, may appear at all.
func shown(sf reflect.StructField) bool {
	if sf.Tag.Get("json") == "-" {
		return false
	}
	if !sf.Anonymous {
		return sf.IsExported()
	}
	t := sf.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return sf.IsExported() || t.Kind() == reflect.Struct
}

func readTag(sf reflect.StructField) jsonField {
	name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
	f := jsonField{name: sf.Name}
	if validName(name) {
		f.name, f.tagged = name, true
	}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty":
			f.omitEmpty = true
		case "omitzero":
			f.omitZero = true
		case "string":
			f.quoted = true
		}
	}
	return f
}

// validName says whether a tag's name counts: others are passed over, and the field keeps its own.
func validName(name string) bool {
	for _, c := range name {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) {
			return false
		}
	}
	return name != ""
}

// dominant chooses among fields of one name, which come in order of their depth.
func dominant(rivals []jsonField) (jsonField, bool) {
	depth := len(rivals[0].index)
	winner, others := rivals[0], 0
	for _, f := range rivals[1:] {
		if len(f.index) > depth || winner.tagged && !f.tagged {
			continue
		}
		if f.tagged && !winner.tagged {
			winner, others = f, 0
			continue
		}
		others++
	}
	return winner, others == 0 && !winner.twiceAtDepth
}
