package apimachinery_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/apimachinery"
)

func TestUnambiguous(t *testing.T) {
	for data, want := range map[string]bool{
		`{}`: true, ` {"a":{"b":[1,{"c":null}]},"d":"\u00e9"} `: true,
		`{"a":1,"a":2}`: false, `{"a":{"b":1,"\u0062":2}}`: false, `[{}]`: false, `null`: false, ``: false,
		`{"a":01}`: false, `{} {}`: false, "{\"a\":\"\xff\"}": false, "a: b": false,
	} {
		require.Equal(t, want, apimachinery.Unambiguous([]byte(data)), data)
	}
}
