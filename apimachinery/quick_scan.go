package apimachinery

// scanner reads JSON from memory. Its methods say false where the input is no JSON; some also where it is unusual.
type scanner struct {
	data   []byte
	at     int
	spaced bool // white space was passed over
}

// next passes over white space and returns the byte after it, which stays unread; 0 at the end.
func (s *scanner) next() byte {
	for s.at < len(s.data) {
		c := s.data[s.at]
		if c > ' ' || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
		s.spaced = true
		s.at++
	}
	return 0
}

// take reads one byte after white space if it is c.
func (s *scanner) take(c byte) bool {
	if s.next() != c {
		return false
	}
	s.at++
	return true
}

// more reads what follows a member or element: a comma, or the closing byte.
func (s *scanner) more(closing byte) (more, ok bool) {
	c := s.next()
	s.at++
	return c == ',', c == ',' || c == closing
}

// word reads a literal whose first byte was seen.
func (s *scanner) word(w string) bool {
	if len(s.data)-s.at < len(w) || string(s.data[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

// text reads a string and returns it with its quotes. plain says that the content means what it is: ASCII
// without escapes.
func (s *scanner) text() (quoted []byte, plain, ok bool) {
	if s.next() != '"' {
		return nil, false, false
	}
	start := s.at
	plain = true
	for i := start + 1; ; {
		i = plainPrefix(s.data, i)
		if i >= len(s.data) || s.data[i] < ' ' {
			return nil, false, false
		}
		switch c := s.data[i]; {
		case c == '"':
			s.at = i + 1
			return s.data[start:s.at], plain, true
		case c == '\\':
			n := escapeLength(s.data[i:])
			if n == 0 {
				return nil, false, false
			}
			i += n
		default:
			i++
		}
		plain = false
	}
}

// escapeLength returns how long the escape at the start of s is; 0 if it is none.
func escapeLength(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(s) < 6 {
			return 0
		}
		for _, c := range s[2:6] {
			if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads a number; whole says that it has neither fraction nor exponent.
func (s *scanner) number() (literal []byte, whole, ok bool) {
	s.next()
	start := s.at
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return nil, false, false
	}
	whole = true
	if s.peek() == '.' {
		s.at++
		if whole = false; !s.digits() {
			return nil, false, false
		}
	}
	if s.peek()|0x20 == 'e' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if whole = false; !s.digits() {
			return nil, false, false
		}
	}
	return s.data[start:s.at], whole, true
}

func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func (s *scanner) digits() bool {
	start := s.at
	for isDigit(s.peek()) {
		s.at++
	}
	return s.at > start
}

// skip reads one value, whatever it is.
func (s *scanner) skip(depth int) bool {
	switch c := s.next(); c {
	case '{', '[':
		return depth < maxPlainDepth && s.skipNested(c, depth+1)
	case '"':
		_, _, ok := s.text()
		return ok
	case 'n':
		return s.word("null")
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	default:
		_, _, ok := s.number()
		return ok
	}
}

func (s *scanner) skipNested(open byte, depth int) bool {
	closing := open + 2 // in ASCII, of both kinds
	s.at++
	if s.take(closing) {
		return true
	}
	for {
		if open == '{' {
			if _, _, ok := s.text(); !ok || !s.take(':') {
				return false
			}
		}
		if !s.skip(depth) {
			return false
		}
		if more, ok := s.more(closing); !more {
			return ok
		}
	}
}
