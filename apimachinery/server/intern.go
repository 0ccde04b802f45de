package server

import "sync"

const (
	internShards = 16
	internMost   = 4096 // strings per shard
	internLong   = 256  // longer strings are not worth keeping
)

// interner keeps one copy of strings that occur over and over: label keys and values, node names, phases. It
// forgets everything in a shard that has become full.
type interner struct {
	shards [internShards]struct {
		mu   sync.Mutex
		seen map[string]string
	}
}

func (in *interner) get(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > internLong {
		return string(b)
	}
	sh := &in.shards[(int(b[0])*31+int(b[len(b)-1])+len(b))%internShards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s, ok := sh.seen[string(b)]; ok {
		return s
	}
	if sh.seen == nil || len(sh.seen) >= internMost {
		sh.seen = map[string]string{}
	}
	s := string(b)
	sh.seen[s] = s
	return s
}
