package scheduling

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Unfit is the error of [Engine.Schedule] when no host will do. It is a verdict
// on the item as things are, not a fault.
type Unfit struct {
	Hosts    int            // how many hosts there are
	Rejected []Rejected     // in the order of the plugins; each host counts once, for the first plugin that refused it
	Reasons  map[string]int // how many hosts gave each reason; only when Config.Reasons is set
}

// Rejected counts the hosts that one plugin refused.
type Rejected struct {
	Plugin string
	Hosts  int
}

// Error says how many hosts were refused, and by which plugins.
func (u *Unfit) Error() string {
	if u.Hosts == 0 {
		return "no hosts to schedule on"
	}
	parts := make([]string, len(u.Rejected))
	for i, r := range u.Rejected {
		parts[i] = fmt.Sprintf("%d refused by %s", r.Hosts, r.Plugin)
	}
	return fmt.Sprintf("0/%d hosts fit: %s", u.Hosts, strings.Join(parts, ", "))
}

// Plugins names the plugins that refused hosts.
func (u *Unfit) Plugins() []string {
	names := make([]string, len(u.Rejected))
	for i, r := range u.Rejected {
		names[i] = r.Plugin
	}
	return names
}

// Histogram lists the reasons as "count reason", sorted as text.
func (u *Unfit) Histogram() []string {
	lines := make([]string, 0, len(u.Reasons))
	for _, reason := range slices.Collect(maps.Keys(u.Reasons)) {
		lines = append(lines, fmt.Sprintf("%d %s", u.Reasons[reason], reason))
	}
	slices.Sort(lines)
	return lines
}

// Refusal says why one host won't do.
type Refusal struct {
	Host    string
	Plugin  string   // the first plugin that refused it
	Reasons []string // at least one
}

// Ranked is a host that will do, and how good it is.
type Ranked struct {
	Host  string
	Score int64
}
