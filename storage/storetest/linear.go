package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bedplate/bedplate/storage"
)

type linearInput struct {
	op   string // put, delete, get
	key  string
	at   int64 // the condition of a put; storage.AnyRev: none
	text string
}

type linearOutput struct {
	rev      int64 // of the write, or of what was read; 0: nothing there
	text     string
	conflict bool
	have     int64
}

// linearState is one key: what it holds and the newest revision it can be at.
type linearState struct {
	rev    int64
	text   string
	newest int64
}

// linearModel is one key of the store.
var linearModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(linearInput).key
			byKey[key] = append(byKey[key], o)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return linearState{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(linearState).step(input.(linearInput), output.(linearOutput))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

func (s linearState) step(in linearInput, out linearOutput) (bool, linearState) {
	switch {
	case in.op == "get":
		return out.rev == s.rev && out.text == s.text, s
	case out.conflict:
		return in.at != s.rev && out.have == s.rev, s
	case in.at >= 0 && in.at != s.rev:
		return false, s
	case in.op == "delete" && s.rev == 0:
		return true, s
	case out.rev <= s.newest:
		return false, s
	case in.op == "delete":
		return true, linearState{newest: out.rev}
	}
	return true, linearState{rev: out.rev, text: in.text, newest: out.rev}
}

// testLinearizable records what concurrent clients of two DBs did and saw, and has porcupine find an order
// that explains it.
func testLinearizable(e *env) {
	dbs := []*storage.DB{e.db(storage.Config{}), e.db(storage.Config{})}
	tables := []*storage.Table{e.pods(dbs[0]), e.pods(dbs[1])}
	var mu sync.Mutex
	var history []porcupine.Operation
	begin := time.Now()
	var wg sync.WaitGroup
	for client := range 6 {
		c := linearClient{
			env: e, db: dbs[client%2], t: tables[client%2], random: rand.New(rand.NewPCG(uint64(client), 1)),
		}
		wg.Go(func() {
			for i := range 60 {
				in := c.next(fmt.Sprintf("%d.%d", client, i))
				call := time.Since(begin)
				out, err := c.do(in)
				ret := time.Since(begin)
				if err != nil {
					e.T.Errorf("%+v: %v", in, err)
					return
				}
				mu.Lock()
				history = append(history, porcupine.Operation{
					ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(ret),
				})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	e.Equal(porcupine.Ok, porcupine.CheckOperationsTimeout(linearModel, history, limit/2))
}

type linearClient struct {
	env    *env
	db     *storage.DB
	t      *storage.Table
	random *rand.Rand
	seen   int64
}

func (c *linearClient) next(text string) linearInput {
	in := linearInput{key: fmt.Sprint(c.random.IntN(2)), at: storage.AnyRev, text: text}
	switch n := c.random.IntN(10); {
	case n < 4:
		in.op = "get"
	case n < 6:
		in.op = "put"
	case n < 9:
		in.op, in.at = "put", c.seen
	default:
		in.op = "delete"
	}
	return in
}

func (c *linearClient) do(in linearInput) (out linearOutput, err error) {
	if in.op == "get" {
		got, err := c.t.Get(c.env.ctx, in.key, 0)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			c.seen = 0
			return out, nil
		case err != nil:
			return out, err
		}
		c.seen = got.Rev
		return linearOutput{rev: got.Rev, text: string(got.Raw)}, nil
	}
	w := storage.Write{Table: c.t, Key: in.key, At: in.at}
	if in.op == "put" {
		w.Value = []byte(in.text)
	}
	out.rev, err = c.db.Commit(c.env.ctx, w)
	var conflict *storage.ConflictError
	if errors.As(err, &conflict) {
		return linearOutput{conflict: true, have: conflict.Have}, nil
	}
	return out, err
}
