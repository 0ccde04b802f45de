package apimachinery

import (
	"encoding/base64"
	"hash/maphash"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// commonStrings holds short strings that were read lately, so that what every object says ("TCP", "default",
// the keys of labels) is one string in memory. It has a fixed size: a newcomer takes the place of what was there.
type commonStrings struct {
	seed   maphash.Seed
	recent [1024]string
}

// maxCommon is the longest string that commonStrings keeps, in bytes.
const maxCommon = 32

func (c *commonStrings) of(b []byte) string {
	if len(b) > maxCommon || len(b) == 0 {
		return string(b)
	}
	s := &c.recent[maphash.Bytes(c.seed, b)%uint64(len(c.recent))]
	if *s != string(b) {
		*s = string(b)
	}
	return *s
}

// str reads a string.
func (d *decoding) str() (string, bool) {
	quoted, plain, ok := d.text()
	if !ok {
		return "", false
	}
	content := quoted[1 : len(quoted)-1]
	if plain {
		return d.common.of(content), true
	}
	if !utf8.Valid(content) {
		return "", false
	}
	out, err := jsontext.AppendUnquote(nil, quoted)
	return string(out), err == nil
}

// bytes reads base64.
func (d *decoding) bytes(v reflect.Value) bool {
	quoted, plain, ok := d.text()
	if !ok || !plain {
		return false
	}
	content := quoted[1 : len(quoted)-1]
	out := make([]byte, base64.StdEncoding.DecodedLen(len(content)))
	n, err := base64.StdEncoding.Decode(out, content)
	v.SetBytes(out[:n])
	return err == nil
}

func (d *decoding) float(v reflect.Value) bool {
	literal, _, ok := d.number()
	if !ok {
		return false
	}
	f, err := strconv.ParseFloat(string(literal), v.Type().Bits())
	v.SetFloat(f)
	return err == nil
}

func (d *decoding) integer(o op, p ref) bool {
	literal, whole, ok := d.number()
	if !ok || !whole || len(literal) > 18 {
		return false
	}
	n := smallInt(literal)
	switch o {
	case opInt8:
		*as[int8](p) = int8(n)
		return n == int64(int8(n))
	case opInt16:
		*as[int16](p) = int16(n)
		return n == int64(int16(n))
	case opInt32:
		*as[int32](p) = int32(n)
		return n == int64(int32(n))
	case opInt64:
		*as[int64](p) = n
		return true
	}
	if literal[0] == '-' {
		return false
	}
	switch o {
	case opUint8:
		*as[uint8](p) = uint8(n)
		return n == int64(uint8(n))
	case opUint16:
		*as[uint16](p) = uint16(n)
		return n == int64(uint16(n))
	case opUint32:
		*as[uint32](p) = uint32(n)
		return n == int64(uint32(n))
	case opUint64:
		*as[uint64](p) = uint64(n)
		return true
	}
	return false
}

// smallInt returns the value of a whole literal of at most 18 bytes.
func smallInt(literal []byte) int64 {
	n := int64(0)
	for _, c := range literal {
		if c != '-' {
			n = n*10 + int64(c-'0')
		}
	}
	if literal[0] == '-' {
		return -n
	}
	return n
}

// time reads a time and turns it into the local zone, as Kubernetes does.
func (d *decoding) time(into *time.Time, layout string) bool {
	quoted, plain, ok := d.text()
	if !ok || !plain {
		return false
	}
	t, err := time.Parse(layout, string(quoted[1:len(quoted)-1]))
	*into = t.Local()
	return err == nil
}
