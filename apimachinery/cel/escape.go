package cel

import "strings"

// reserved are the words that CEL keeps for itself: a field of such a name is __word__ in an expression.
var reserved = map[string]bool{
	"true": true, "false": true, "null": true, "in": true, "as": true, "break": true, "const": true, "continue": true,
	"else": true, "for": true, "function": true, "if": true, "import": true, "let": true, "loop": true, "package": true,
	"namespace": true, "return": true, "var": true, "void": true, "while": true,
}

// Escape makes an identifier of CEL out of the name of a property: __ becomes __underscores__, and dots, dashes and
// slashes __dot__, __dash__ and __slash__. ok is false for names with other characters or a leading digit, which
// expressions can't reach.
func Escape(name string) (ident string, ok bool) {
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return "", false
	}
	if reserved[name] {
		return "__" + name + "__", true
	}
	plain := true
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.' || c == '-' || c == '/' || c == '_' && i > 0 && name[i-1] == '_':
			plain = false
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
		default:
			return "", false
		}
	}
	if plain {
		return name, true
	}
	return strings.NewReplacer("__", "__underscores__", ".", "__dot__", "-", "__dash__", "/", "__slash__").Replace(name), true
}

// Unescape undoes [Escape]; ok is false if ident has a sequence that Escape doesn't make.
func Unescape(ident string) (name string, ok bool) {
	if !strings.Contains(ident, "__") {
		return ident, true
	}
	var b strings.Builder
	for rest := ident; ; {
		before, after, found := strings.Cut(rest, "__")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		// A third underscore belongs to the text: what is escaped has none.
		for strings.HasPrefix(after, "_") {
			b.WriteByte('_')
			after = after[1:]
		}
		word, tail, closed := strings.Cut(after, "__")
		if !closed || word == "" || strings.Contains(word, "_") {
			b.WriteString("__")
			rest = after
			continue
		}
		switch word {
		case "underscores":
			b.WriteString("__")
		case "dot":
			b.WriteByte('.')
		case "dash":
			b.WriteByte('-')
		case "slash":
			b.WriteByte('/')
		default:
			if !reserved[word] || len(word)+4 != len(ident) {
				return "", false
			}
			b.WriteString(word)
		}
		rest = tail
	}
}
