package storage

import "sync"

// sleepers are the watchers without a term that have seen everything and select less than everything. Whoever
// publishes a state asks their filters, which is several times cheaper than waking them to ask themselves.
type sleepers struct {
	mu   sync.Mutex
	end  uint64 // the events before it have been passed to those who slept then
	list []*Watcher
}

// enter puts a watcher to sleep: from then on its alarm tells of the next event for it, and its cursor is moved.
// False if it has more to look at first.
func (s *sleepers) enter(w *Watcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.cursor.Load() < s.end {
		return false
	}
	w.bed = len(s.list)
	s.list = append(s.list, w)
	return true
}

// exit takes a watcher out, if it is still asleep.
func (s *sleepers) exit(w *Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.bed >= 0 {
		s.remove(w)
	}
	select {
	case <-w.alarm:
	default:
	}
}

func (s *sleepers) remove(w *Watcher) {
	last := len(s.list) - 1
	s.list[w.bed] = s.list[last]
	s.list[w.bed].bed = w.bed
	s.list[last] = nil
	s.list, w.bed = s.list[:last], -1
}

// pass shows the sleepers what is new in a state that has been published.
func (s *sleepers) pass(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.end
	s.end = st.end
	for i := 0; i < len(s.list); {
		w := s.list[i]
		if w.sleepsOn(st, from) {
			i++
			continue
		}
		s.remove(w)
		w.alarm <- struct{}{} // there is room: whoever leaves the bed empties it
	}
}

// sleepsOn moves the cursor to the end of a state if nothing from the number on is for the watcher.
func (w *Watcher) sleepsOn(st *state, from uint64) bool {
	cursor := w.cursor.Load()
	if cursor < st.first() {
		return false
	}
	for n := max(cursor, from); n < st.end; {
		evs := st.from(n)
		for i := range evs {
			if w.f.Match(evs[i].Old) || w.f.Match(evs[i].New) {
				return false
			}
		}
		n += uint64(len(evs))
	}
	w.cursor.Store(max(cursor, st.end))
	return true
}
