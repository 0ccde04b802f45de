package fairness

// maxHand is the longest hand that fits in the 64 bits of a hash: validation allows 60 bits.
const maxHand = 32

// deal picks a hand of different cards out of a deck by a hash: each hand is as likely as any other, and two hashes
// rarely get the same one. It returns how many there are in hand.
func deal(hash uint64, deck, size int, hand *[maxHand]int) int {
	size = min(size, deck, maxHand)
	var sorted [maxHand]int
	for i := range size {
		left := uint64(deck - i)
		card := int(hash % left)
		hash /= left
		at := 0
		for at < i && sorted[at] <= card { // cards that are gone are skipped
			card++
			at++
		}
		copy(sorted[at+1:i+1], sorted[at:i])
		sorted[at], hand[i] = card, card
	}
	return size
}
