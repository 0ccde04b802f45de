package scheduling

import "context"

// MaxScore is the best score that a plugin should give a host, after scaling.
// Weights are multiplied with scores, so they mean what they say only while
// every plugin keeps to 0 … MaxScore.
const MaxScore = 100

// Columns is the state of a plugin: arrays by host number, kept current by
// deltas. The engine calls a plugin from one goroutine at a time.
//
// A host comes before what is placed on it, and goes after it: Placed(n, …, -1)
// is told for each item, then Host(n, nil). What was told with +1 is told with
// -1 as the very same value. The order of placements carries no meaning.
type Columns[I, H any] interface {
	// Host tells that the host with number n was added or changed; nil: it is
	// gone and n may be given to another.
	Host(n int, h *H)
	// Placed tells that item is now (by is +1) or no longer (-1) on host n.
	Placed(n int, item I, by int)
}

// Filter says which hosts an item may go to.
type Filter[I any] interface {
	// Name is the plugin's name in results and errors.
	Name() string
	// Filter clears the bits of the hosts that won't do; bits that it sets are
	// ignored. Its answer for one host may not depend on which other bits are set.
	// An error means that there is no answer; the item is tried again later.
	Filter(ctx context.Context, item I, hosts Hosts) error
}

// Score says which of the hosts that are left are better.
type Score[I any] interface {
	// Name is the plugin's name in errors.
	Name() string
	// Score sets score[n] for each n in hosts; more is better. What else is in
	// score is nobody's, before and after: entries of other hosts may be written,
	// so a loop over whole [Hosts.Blocks] is fine. A plugin without a Scale
	// method keeps to 0 … MaxScore.
	Score(ctx context.Context, item I, hosts Hosts, score []int64) error
}

// Explainer is optional beside [Filter]: it says why a host won't do.
type Explainer[I any] interface {
	// Explain returns the reasons for which Filter clears host, and none when it
	// doesn't. Reasons are short and few, as they are counted over all hosts.
	Explain(item I, host int) []string
}

// Scaler is optional beside [Score]: it brings raw scores to 0 … MaxScore,
// knowing the lowest and highest raw score among the hosts that fit.
type Scaler interface {
	// Scale replaces score[n] for each n in hosts; other entries may be written.
	// The new value is a function of the old one, lowest and highest alone.
	Scale(hosts Hosts, score []int64, lowest, highest int64)
}

// Local is optional beside [Filter] and [Score]. It claims that the answer for a
// host depends on nothing but that host, what is placed on it, and the item's
// class. Items of one class then keep their ranking of hosts, and only hosts
// that changed are asked about again. A plugin without it is asked about all
// hosts every time, and so are the others when one of them is not Local.
type Local[I any] interface {
	// Class appends what the answer depends on in the item: items with equal
	// bytes get equal answers. It returns false when the claim doesn't hold for
	// this item.
	Class(key []byte, item I) ([]byte, bool)
}

// Skipper is optional beside [Filter] and [Score]: a plugin that has nothing to
// say about an item, whatever the hosts, isn't called for it.
type Skipper[I any] interface {
	Skip(item I) bool
}

// Hinter is optional beside [Filter]: it says which events make another try
// worthwhile for an item that this plugin helped to refuse. Without it, every
// event does. Hint is a pure function: it is asked while the engine is at an
// unknown point before or after the event.
type Hinter[I, H any] interface {
	Hint(item I, e Event[I, H]) bool
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	HostAdded    EventKind = iota + 1 // New is set
	HostChanged                       // Old and New are set
	HostRemoved                       // Old is set
	ItemPlaced                        // Item is on Host now
	ItemUnplaced                      // Item is no longer on Host
	Outside                           // something that the engine doesn't know, told by [Cycle.Tell]; Source is set
)

// Event is a change that may let an item fit that didn't before.
type Event[I, H any] struct {
	Kind     EventKind
	Host     string
	Old, New *H
	Item     I
	Source   string
}

// Plugin is one rule of a scheduler: any of its three parts, each told apart by
// the others' absence. Parts that share state are given as several plugins with
// the same Columns value, which is then told everything once; a Columns value
// must be comparable, as a pointer is.
type Plugin[I, H any] struct {
	Columns Columns[I, H] // nil: it keeps nothing
	Filter  Filter[I]     // nil: every host will do
	Score   Score[I]      // nil: all hosts are equally good
	Weight  int64         // multiplies the score; 0: 1
}
