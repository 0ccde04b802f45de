package jsonschema

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// tagWords are the words of the tag schema and what they do.
func tagWords() map[string]func(s *props, value string) error {
	lastRule := func(set func(r *apiextensionsv1.ValidationRule, v string)) func(*props, string) error {
		return func(s *props, v string) error {
			if len(s.XValidations) == 0 {
				return errors.New("has no rule before it")
			}
			set(&s.XValidations[len(s.XValidations)-1], v)
			return nil
		}
	}
	return map[string]func(s *props, v string) error{
		"minimum":          func(s *props, v string) error { return numberWord(&s.Minimum, s, v) },
		"maximum":          func(s *props, v string) error { return numberWord(&s.Maximum, s, v) },
		"multipleOf":       func(s *props, v string) error { return numberWord(&s.MultipleOf, s, v) },
		"exclusiveMinimum": func(s *props, v string) error { return flagWord(&s.ExclusiveMinimum, v) },
		"exclusiveMaximum": func(s *props, v string) error { return flagWord(&s.ExclusiveMaximum, v) },
		"minLength":        func(s *props, v string) error { return sizeWord(&s.MinLength, s, "string", v) },
		"maxLength":        func(s *props, v string) error { return sizeWord(&s.MaxLength, s, "string", v) },
		"minItems":         func(s *props, v string) error { return sizeWord(&s.MinItems, s, "array", v) },
		"maxItems":         func(s *props, v string) error { return sizeWord(&s.MaxItems, s, "array", v) },
		"minProperties":    func(s *props, v string) error { return sizeWord(&s.MinProperties, s, "object", v) },
		"maxProperties":    func(s *props, v string) error { return sizeWord(&s.MaxProperties, s, "object", v) },
		"pattern":          func(s *props, v string) error { return textWord(&s.Pattern, v) },
		"format":           func(s *props, v string) error { return textWord(&s.Format, v) },
		"title":            func(s *props, v string) error { return textWord(&s.Title, v) },
		"default":          func(s *props, v string) error { return valueWord(&s.Default, s, v) },
		"example":          func(s *props, v string) error { return valueWord(&s.Example, s, v) },
		"enum":             enumWord,
		"listType":         func(s *props, v string) error { return choiceWord(&s.XListType, s, "array", v, "atomic", "set", "map") },
		"mapType":          func(s *props, v string) error { return choiceWord(&s.XMapType, s, "object", v, "atomic", "granular") },
		"listMapKey": func(s *props, v string) error {
			if v == "" {
				return errors.New("needs the name of a field")
			}
			if !slices.Contains(s.XListMapKeys, v) { // package structural reads the tag, too
				s.XListMapKeys = append(s.XListMapKeys, v)
			}
			return nil
		},
		"nullable": func(s *props, v string) error { return flagWord(&s.Nullable, v) },
		"immutable": func(s *props, v string) error {
			s.XValidations = append(s.XValidations, apiextensionsv1.ValidationRule{Rule: "self == oldSelf", Message: "Value is immutable"})
			return noValue(v)
		},
		"preserveUnknown": func(s *props, v string) error {
			s.XPreserveUnknownFields = new(true)
			return noValue(v)
		},
		"embeddedResource": func(s *props, v string) error {
			s.XPreserveUnknownFields = new(true)
			return flagWord(&s.XEmbeddedResource, v)
		},
		"intOrString": func(s *props, v string) error {
			s.Type, s.Format, s.AnyOf = "", "", []props{{Type: "integer"}, {Type: "string"}}
			return flagWord(&s.XIntOrString, v)
		},
		"rule": func(s *props, v string) error {
			if v == "" {
				return errors.New("needs an expression")
			}
			s.XValidations = append(s.XValidations, apiextensionsv1.ValidationRule{Rule: v})
			return nil
		},
		"message":   lastRule(func(r *apiextensionsv1.ValidationRule, v string) { r.Message = v }),
		"fieldPath": lastRule(func(r *apiextensionsv1.ValidationRule, v string) { r.FieldPath = v }),
		"reason": lastRule(func(r *apiextensionsv1.ValidationRule, v string) {
			r.Reason = new(apiextensionsv1.FieldValueErrorReason(v))
		}),
		"optionalOldSelf": lastRule(func(r *apiextensionsv1.ValidationRule, _ string) { r.OptionalOldSelf = new(true) }),
	}
}

// applyTag changes s by the words of a tag, and returns whether the field is required.
func applyTag(s *props, tag string, required bool) (bool, error) {
	words := tagWords()
	for word := range splitTag(tag) {
		name, value, _ := strings.Cut(word, "=")
		on := s
		if inner, ok := strings.CutPrefix(name, "items."); ok {
			name = inner
			if on = elementOf(s); on == nil {
				return false, fmt.Errorf("%q: neither a list nor a map", word)
			}
		}
		switch {
		case on == s && (name == "required" || name == "optional"):
			if required = name == "required"; value != "" {
				return false, fmt.Errorf("%q takes no value", name)
			}
			continue
		case words[name] == nil:
			return false, unknownWord(name, words)
		}
		if err := words[name](on, value); err != nil {
			return false, fmt.Errorf("%q: %w", word, err)
		}
	}
	return required, nil
}

func elementOf(s *props) *props {
	if s.Items != nil {
		return s.Items.Schema
	}
	if s.AdditionalProperties != nil {
		return s.AdditionalProperties.Schema
	}
	return nil
}

// splitTag yields the words of a tag.
func splitTag(tag string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		var word strings.Builder
		depth := 0
		flush := func() bool {
			w := strings.TrimSpace(word.String())
			word.Reset()
			return w == "" || yield(w)
		}
		for i := 0; i < len(tag); i++ {
			c := tag[i]
			switch {
			case c == '\\' && i+1 < len(tag):
				i++
				if tag[i] != ',' {
					word.WriteByte(c)
				}
				c = tag[i]
			case c == '(' || c == '[' || c == '{':
				depth++
			case c == ')' || c == ']' || c == '}':
				depth = max(0, depth-1)
			case c == ',' && depth == 0:
				if !flush() {
					return
				}
				continue
			}
			word.WriteByte(c)
		}
		flush()
	}
}

// unknownWord says which word is meant in all likelihood.
func unknownWord(name string, words map[string]func(*props, string) error) error {
	known := append(slices.Collect(maps.Keys(words)), "required", "optional")
	slices.Sort(known)
	best, bestAt := "", 3
	for _, w := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(w)); d < bestAt {
			best, bestAt = w, d
		}
	}
	if best != "" {
		return fmt.Errorf("the schema tag has no word %q; did you mean %q?", name, best)
	}
	return fmt.Errorf("the schema tag has no word %q; there are %s", name, strings.Join(known, ", "))
}

// distance is how many letters must be changed, added or removed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}

func noValue(v string) error {
	if v != "" {
		return errors.New("takes no value")
	}
	return nil
}

func flagWord(to *bool, v string) error {
	*to = true
	return noValue(v)
}

func textWord(to *string, v string) error {
	if *to = v; v == "" {
		return errors.New("needs a value")
	}
	return nil
}

func numberWord(to **float64, s *props, v string) error {
	if s.Type != "integer" && s.Type != "number" && !s.XIntOrString {
		return fmt.Errorf("is for numbers, not for type %q", s.Type)
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return fmt.Errorf("%q is no number", v)
	}
	*to = &f
	return nil
}

func sizeWord(to **int64, s *props, want, v string) error {
	if s.Type != want && !(s.XIntOrString && want == "string") {
		return fmt.Errorf("is for type %q, not for %q", want, s.Type)
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size", v)
	}
	*to = &n
	return nil
}

func choiceWord(to **string, s *props, want, v string, choices ...string) error {
	if s.Type != want {
		return fmt.Errorf("is for type %q, not for %q", want, s.Type)
	}
	if !slices.Contains(choices, v) {
		return fmt.Errorf("%q is none of %s", v, strings.Join(choices, ", "))
	}
	*to = &v
	return nil
}

// valueOf returns the JSON of a value as it stands in a tag.
func valueOf(s *props, v string) (apiextensionsv1.JSON, error) {
	if s.Type == "string" {
		raw, err := json.Marshal(v)
		return apiextensionsv1.JSON{Raw: raw}, err
	}
	if json.Valid([]byte(v)) {
		return apiextensionsv1.JSON{Raw: []byte(v)}, nil
	}
	if s.XIntOrString {
		raw, err := json.Marshal(v)
		return apiextensionsv1.JSON{Raw: raw}, err
	}
	return apiextensionsv1.JSON{}, fmt.Errorf("%q is no JSON", v)
}

func valueWord(to **apiextensionsv1.JSON, s *props, v string) error {
	j, err := valueOf(s, v)
	*to = &j
	return err
}

func enumWord(s *props, v string) error {
	for one := range strings.SplitSeq(v, "|") {
		j, err := valueOf(s, one)
		if err != nil {
			return err
		}
		s.Enum = append(s.Enum, j)
	}
	return nil
}
