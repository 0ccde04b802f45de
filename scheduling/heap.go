package scheduling

// heap is a binary heap whose elements know their place in it, so that one in
// the middle can be taken out.
type heap[T any] struct {
	less  func(a, b T) bool
	place func(T) *int // where an element keeps its index; -1: not in a heap
	elems []T
}

func (h *heap[T]) len() int { return len(h.elems) }

func (h *heap[T]) push(x T) {
	*h.place(x) = len(h.elems)
	h.elems = append(h.elems, x)
	h.up(len(h.elems) - 1)
}

// remove takes x out, which must be in this heap.
func (h *heap[T]) remove(x T) {
	i, last := *h.place(x), len(h.elems)-1
	h.swap(i, last)
	var zero T
	h.elems[last] = zero
	h.elems = h.elems[:last]
	*h.place(x) = -1
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h *heap[T]) swap(i, j int) {
	h.elems[i], h.elems[j] = h.elems[j], h.elems[i]
	*h.place(h.elems[i]) = i
	*h.place(h.elems[j]) = j
}

func (h *heap[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.elems[i], h.elems[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *heap[T]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.elems) {
			return
		}
		if right := child + 1; right < len(h.elems) && h.less(h.elems[right], h.elems[child]) {
			child = right
		}
		if !h.less(h.elems[child], h.elems[i]) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
