package fairness

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DebugPath is where [Fairness.ServeHTTP] belongs: it serves dump_priority_levels, dump_queues and dump_requests there.
const DebugPath = "/debug/api_priority_and_fairness/"

// Serves says whether a path is one of those that [Fairness.ServeHTTP] answers.
func Serves(path string) bool {
	rest, ok := strings.CutPrefix(path, DebugPath)
	return ok && (rest == "dump_priority_levels" || rest == "dump_queues" || rest == "dump_requests")
}

// ServeHTTP tells what waits and what runs, as tables in Kubernetes' form. Who may ask is the caller's business.
func (f *Fairness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var rows [][]string
	switch strings.TrimPrefix(r.URL.Path, DebugPath) {
	case "dump_priority_levels":
		rows = f.dump([]string{
			"PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
			"DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
		}, dumpLevel)
	case "dump_queues":
		rows = f.dump([]string{
			"PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
			"InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
		}, dumpQueues)
	case "dump_requests":
		rows = f.dumpRequests(r.URL.Query().Get("includeRequestDetails") != "")
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	writeTable(w, rows)
}

func writeTable(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 8, 0, 1, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, ",\t"))
	}
	_ = t.Flush() // the reader may be gone
}

func (f *Fairness) dump(head []string, of func(*level) [][]string) [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows := [][]string{head}
	for _, name := range slices.Sorted(maps.Keys(f.levels)) {
		l := f.levels[name]
		l.mu.Lock()
		l.queues.advance(max(f.now(), l.queues.last))
		rows = append(rows, of(l)...)
		l.mu.Unlock()
	}
	return rows
}

func dumpLevel(l *level) [][]string {
	active := 0
	for _, q := range l.queues.list {
		if len(q.waiting) > 0 {
			active++
		}
	}
	return [][]string{row(l.name, active, l.queues.idle(), l.quiescing, l.queues.waiting, l.queues.running,
		l.started, l.refused-l.timedOut, l.timedOut, l.cancelled)}
}

func dumpQueues(l *level) (rows [][]string) {
	for _, q := range l.queues.list {
		first, most := 0, 0
		for _, it := range q.waiting {
			first, most = first+it.Seats, most+it.width()
		}
		rows = append(rows, row(l.name, q.index, len(q.waiting), q.running, q.seats, seatSeconds(q.next), first, most, seatSeconds(q.expected)))
	}
	return rows
}

func seatSeconds(s float64) string { return fmt.Sprintf("%.8fss", s) }

func (f *Fairness) dumpRequests(details bool) [][]string {
	head := []string{
		"PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
		"InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime",
	}
	if details {
		head = append(head, "UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
	}
	by := map[string]*planned{}
	for _, s := range f.plan.Load().schemas {
		by[s.schema.Name] = s
	}
	return f.dump(head, func(l *level) (rows [][]string) {
		add := func(it *item, index int) {
			rows = append(rows, f.dumpRequest(l, it, index, by[it.flow.schema], details))
		}
		for _, q := range l.queues.list {
			for i, it := range q.waiting {
				add(it, i)
			}
		}
		for it := l.queues.first; it != nil; it = it.next {
			add(it, -1)
		}
		return rows
	})
}

func (f *Fairness) dumpRequest(l *level, it *item, index int, s *planned, details bool) []string {
	at, by, start := -1, "", time.Time{}
	if it.queue != nil {
		at = it.queue.index
	}
	if s != nil {
		by = distinguisher(s.schema, it.what.Attributes)
	}
	if it.running {
		start = f.begun.Add(it.started)
	}
	out := row(l.name, it.flow.schema, at, index, by, f.begun.Add(it.arrived).UTC().Format(time.RFC3339Nano),
		it.Seats, it.Final, it.Extra, start.UTC().Format(time.RFC3339Nano))
	if a := it.what; details {
		gv := schema.GroupVersion{Group: a.Group, Version: a.Version}
		out = append(out, row(a.User.Name, a.Verb, a.Path, a.Namespace, a.Name, gv, a.Resource, a.Sub)...)
	}
	return out
}

func row(columns ...any) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = fmt.Sprint(c)
	}
	return out
}
