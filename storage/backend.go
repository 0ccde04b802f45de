package storage

import (
	"context"
	"iter"
)

// Backend is what an etcd, or a memory, must offer. Everything else derives from it; storetest.Run proves
// an implementation. Beside it one may be a Leaser and a Streamer. All methods may be called concurrently.
//
// Revisions are etcd's: one counter for all keys, 1 in an empty store, raised by one with each transaction
// that changes something.
type Backend interface {
	// Range reads keys in ascending order, all at one revision. At 0 the read is linearizable. It returns a
	// *TooOldError for a revision that was compacted away and a *FutureError for one that is not there yet.
	Range(ctx context.Context, r Range) (Page, error)

	// Commit applies all of t or nothing and returns the revision it made (the current revision if the
	// transaction changed nothing). It owns the values from then on: the caller must not modify them. It
	// returns a *ConflictError if a condition does not hold, a *LeaseError if all of them do and a lease has
	// ended, ErrNotFound alone for KeepLease without a key, and ErrTooLarge if the store refuses the size; in these
	// cases nothing was written. Any other error leaves the outcome open, ErrNoSpace of a full store too: etcd
	// applies the write that crosses its quota, and refuses those after it.
	Commit(ctx context.Context, t Txn) (rev int64, err error)

	// Watch yields, in order, each revision after the given one that touches the prefix, whole, and none
	// twice. The first batch is empty and says that the watch stands. Empty batches come also as progress:
	// once Commit or Revision has returned a revision, the watch promptly yields a batch that is not older,
	// even if the revision touched other prefixes alone. The sequence ends with an error, always: a
	// *TooOldError if the revision after the given one was compacted away, the context's error when it ends,
	// ErrClosed when the backend does, or whatever broke the connection; the caller may then watch again
	// after the last revision it saw. The batch belongs to the caller, its values are never modified.
	Watch(ctx context.Context, prefix string, after int64) iter.Seq2[Batch, error]

	// Revision returns the current revision: at least that of every transaction acknowledged to anybody,
	// anywhere, before the call (linearizable).
	Revision(ctx context.Context) (int64, error)
}

// Range selects keys.
type Range struct {
	Prefix string // keys that begin with it; "" is all keys
	From   string // keys at or after it, inside the prefix; "" is from the first
	At     int64  // the revision to read at; 0: the current one, linearizable
	Limit  int    // at most so many; 0: no limit
}

// KV is one key's state or change.
type KV struct {
	Key     string
	Value   []byte // never nil for a key that exists; nil in a Batch: the key was deleted
	Rev     int64  // the revision of the last change
	Created int64  // the revision that created the key; 0 for a deletion
	// Corrupt, where not nil, says that there is a value and that it cannot be read, as a backend says that decrypts;
	// Value is empty then. A table marks the object as corrupt.
	Corrupt *CorruptError
}

// Page is the result of a Range.
type Page struct {
	KVs  []KV
	Rev  int64 // the revision read at
	More bool  // the limit cut the range short; go on with From: the last key + "\x00", At: Rev
}

// Cond is a condition on the revision of a key.
type Cond struct {
	Key string // absolute
	Rev int64  // the key's last change is this revision; 0: the key must not exist
}

// Op is one write of a transaction.
type Op struct {
	Key   string // absolute; a key may occur once in a transaction
	Value []byte // nil: delete; to delete what is not there changes nothing
	// Lease deletes the key when the lease ends (see Leaser); a *LeaseError if it has ended already. Each
	// write of a key replaces the lease of the one before. 0: none. KeepLease: the one that the key has, or
	// none; ErrNotFound if there is no such key. Without meaning for a deletion.
	Lease int64
}

// KeepLease as the lease of a write leaves the key with the lease that it has.
const KeepLease int64 = -1

// Txn is a transaction: if all conditions hold, all operations are applied at one revision.
type Txn struct {
	If   []Cond
	Then []Op
}

// Batch is one whole revision as a watch sees it. Without events it is progress: all revisions up to and
// including Rev have been yielded.
type Batch struct {
	Rev    int64
	Events []KV // ordered as the store orders them; each has Rev equal to the batch's
}
