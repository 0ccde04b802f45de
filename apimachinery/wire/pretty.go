package wire

import "io"

// indenter makes JSON for people of JSON in one line, as encoding/json's Indent does with two spaces, whatever the
// pieces are in which it comes.
type indenter struct {
	to       io.Writer
	buf      []byte
	depth    int
	open     bool // a bracket was opened and nothing has followed yet
	text     bool // within a string
	escaped  bool // behind a backslash in it
	finished error
}

// Write implements io.Writer. It keeps nothing of p.
func (x *indenter) Write(p []byte) (int, error) {
	if x.finished != nil {
		return 0, x.finished
	}
	x.buf = x.buf[:0]
	for _, c := range p {
		x.add(c)
	}
	if _, err := x.to.Write(x.buf); err != nil {
		x.finished = err
		return 0, err
	}
	return len(p), nil
}

func (x *indenter) add(c byte) {
	switch {
	case x.text:
		x.text = c != '"' || x.escaped
		x.escaped = c == '\\' && !x.escaped
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		return
	case c == '}' || c == ']':
		if x.depth--; !x.open {
			x.line()
		}
		x.open = false
	case x.open:
		x.line()
		x.open = false
		x.text = c == '"'
	default:
		x.text = c == '"'
	}
	x.buf = append(x.buf, c)
	if x.text {
		return
	}
	switch c {
	case '{', '[':
		x.depth++
		x.open = true
	case ',':
		x.line()
	case ':':
		x.buf = append(x.buf, ' ')
	}
}

func (x *indenter) line() {
	x.buf = append(x.buf, '\n')
	for range x.depth {
		x.buf = append(x.buf, ' ', ' ')
	}
}
