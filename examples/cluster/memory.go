package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// A small heap may grow to three times what lives in it before garbage is collected: that takes little memory and saves
	// most collections. A large one may grow by so much and no more.
	percent, growth = 200, 96 << 20
	leastPercent    = 25
)

// paceCollector makes garbage be collected at that pace, unless GOGC says otherwise: after each collection it looks at
// how much is alive.
func paceCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(percent)
	watchCollections(percent)
}

func watchCollections(now int) {
	type collected struct{ _ *byte }
	runtime.AddCleanup(new(collected), func(now int) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if want := paceOf(live[0].Value.Uint64()); want*10 < now*9 || want*9 > now*10 {
			debug.SetGCPercent(want)
			now = want
		}
		watchCollections(now)
	}, now)
}

// paceOf is by how many percent a heap may grow.
func paceOf(live uint64) int { return max(leastPercent, min(percent, int(100*growth/max(live, 1)))) }
