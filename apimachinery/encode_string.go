package apimachinery

import (
	"math/bits"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// The bytes of a word of eight.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plainPrefix returns the first place from i on of a byte that does not stand in JSON as it is, or the length: plain
// are ASCII but control characters, the quote and the backslash. It looks at eight bytes at a time.
func plainPrefix[Bytes []byte | string](s Bytes, i int) int {
	for ; i+8 <= len(s); i += 8 {
		if odd := oddBytes(s, i); odd != 0 {
			return i + bits.TrailingZeros64(odd)/8
		}
	}
	if i < len(s) && len(s) >= 8 { // the last eight; those before i, which may be anything, are shifted out
		if last := len(s) - 8; oddBytes(s, last)>>(8*(i-last)) == 0 {
			return len(s)
		}
	}
	for i < len(s) && isPlain(s[i]) {
		i++
	}
	return i
}

// oddBytes marks the bytes that are not plain, among eight from i on, by their highest bits. Above the lowest mark there
// may be false ones.
func oddBytes[Bytes []byte | string](s Bytes, i int) uint64 {
	w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
		uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
	quote, slash := w^(ones*'"'), w^(ones*'\\')
	return (w | (w - ones*0x20) | (quote - ones) | (slash - ones)) & highs
}

func isPlain(c byte) bool { return c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' }

// appendString appends a JSON string. Invalid UTF-8 becomes U+FFFD, and the line separators of Unicode are escaped;
// HTML is left as it is.
func appendString[Bytes []byte | string](dst []byte, s Bytes) []byte {
	dst = append(dst, '"')
	for start, i := 0, 0; ; {
		i = plainPrefix(s, i)
		if i == len(s) {
			return append(append(dst, s[start:]...), '"')
		}
		size := 1
		if s[i] >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if (r != utf8.RuneError || size > 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, s[i], s[i+size-1], size)
		i += size
		start = i
	}
}

// appendEscape escapes the character whose first and last bytes are given: ASCII, an invalid byte (of size 1), or
// one of U+2028 and U+2029.
func appendEscape(dst []byte, first, last byte, size int) []byte {
	switch {
	case size > 1:
		return append(dst, '\\', 'u', '2', '0', '2', hexDigits[last&0xf])
	case first >= utf8.RuneSelf:
		return append(dst, `\ufffd`...)
	}
	switch first {
	case '"', '\\':
		return append(dst, '\\', first)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[first>>4], hexDigits[first&0xf])
}
