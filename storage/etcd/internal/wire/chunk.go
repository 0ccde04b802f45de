package wire

import (
	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/bedplate/bedplate/storage"
)

// Chunk translates a part of a range stream at a revision; 0: the current one, which the last part tells.
func Chunk(at int64, resp *etcdserverpb.RangeResponse) storage.Page {
	p := storage.Page{Rev: at, More: resp.GetMore(), KVs: make([]storage.KV, len(resp.GetKvs()))}
	if at == 0 {
		p.Rev = resp.GetHeader().GetRevision()
	}
	for i, kv := range resp.GetKvs() {
		p.KVs[i] = present(kv)
	}
	return p
}
