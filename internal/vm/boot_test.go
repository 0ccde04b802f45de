package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Only what the machine's init says at its end makes a run a success.
func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct{ console, shown, want string }{
		"success": {"vm: up\r\nok    runtime  3s\r\nvm: failed:\r\n", "ok    runtime  3s\n", ""},
		"failure": {"vm: up\r\nFAIL  runtime  3s\r\nvm: failed: runtime\r\n", "FAIL  runtime  3s\n", "failed: runtime"},
		"panic":   {"vm: up\r\nKernel panic\r\n", "Kernel panic\n", "the machine ended before its tests did"},
		"nothing": {"no disk\r\n", "no disk\n", errNotUp.Error()},
	} {
		var shown strings.Builder
		err := follow(strings.NewReader(c.console), &shown, func() {})
		require.Equal(t, c.shown, shown.String(), name)
		if c.want == "" {
			require.NoError(t, err, name)
		} else {
			require.EqualError(t, err, c.want, name)
		}
	}
}
