package storetest

import (
	"context"
	"errors"
	"sync"

	"github.com/bedplate/bedplate/storage"
)

var storeTests = []test{
	{"CRUD", testCRUD},
	{"Counter", testCounter},
	{"Watch", testStoreWatch},
}

type color struct {
	Name string `json:"name"`
	Uses int    `json:"uses"`
}

func (e *env) colors(db *storage.DB) *storage.Store[color] {
	e.Helper()
	s, err := storage.NewStore[color](db, "/registry/colors/", nil)
	e.NoError(err)
	return s
}

func testCRUD(e *env) {
	s := e.colors(e.db(storage.Config{}))
	rev, err := s.Create(e.ctx, "red", color{Name: "Red"})
	e.NoError(err)
	_, err = s.Create(e.ctx, "red", color{Name: "Red"})
	e.ErrorIs(err, storage.ErrConflict)
	item, err := s.Get(e.ctx, "red")
	e.NoError(err)
	e.Equal(storage.Item[color]{Key: "red", Value: color{Name: "Red"}, Rev: rev, Created: rev}, item)
	item, err = s.Update(e.ctx, "red", func(c color) (color, error) {
		c.Uses++
		return c, nil
	})
	e.NoError(err)
	e.Equal(1, item.Value.Uses)
	e.Greater(item.Rev, rev)
	stop := errors.New("enough")
	_, err = s.Update(e.ctx, "red", func(c color) (color, error) { return c, stop })
	e.ErrorIs(err, stop)
	_, err = s.Update(e.ctx, "blue", func(c color) (color, error) { return c, nil })
	e.ErrorIs(err, storage.ErrNotFound)
	_, err = s.Create(e.ctx, "blue", color{Name: "Blue"})
	e.NoError(err)
	items, at, err := s.List(e.ctx, "")
	e.NoError(err)
	e.Len(items, 2)
	e.Equal("Blue", items[0].Value.Name)
	e.GreaterOrEqual(at, items[0].Rev)
	e.ErrorIs(s.Delete(e.ctx, "red", rev), storage.ErrConflict)
	e.NoError(s.Delete(e.ctx, "red", item.Rev))
	e.ErrorIs(s.Delete(e.ctx, "red", item.Rev), storage.ErrNotFound)
	e.NoError(s.Delete(e.ctx, "blue", 0))
	e.ErrorIs(s.Delete(e.ctx, "blue", 0), storage.ErrNotFound)
	e.put("/registry/colors/broken", "{")
	_, err = s.Get(e.ctx, "broken")
	e.ErrorIs(err, storage.ErrCorrupt)
}

func testCounter(e *env) {
	s := e.colors(e.db(storage.Config{}))
	_, err := s.Create(e.ctx, "red", color{})
	e.NoError(err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				_, err := s.Update(e.ctx, "red", func(c color) (color, error) {
					c.Uses++
					return c, nil
				})
				if err != nil {
					e.T.Errorf("update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	item, err := s.Get(e.ctx, "red")
	e.NoError(err)
	e.Equal(160, item.Value.Uses)
}

func testStoreWatch(e *env) {
	s := e.colors(e.db(storage.Config{}))
	_, at, err := s.List(e.ctx, "")
	e.NoError(err)
	_, err = s.Create(e.ctx, "red", color{Name: "Red"})
	e.NoError(err)
	e.NoError(s.Delete(e.ctx, "red", 0))
	var seen []storage.Change[color]
	for c, err := range s.Watch(e.ctx, "", at) {
		e.NoError(err)
		if seen = append(seen, c); len(seen) == 2 {
			break
		}
	}
	red := &color{Name: "Red"}
	e.Equal([]storage.Change[color]{
		{Key: "red", New: red, Rev: at + 1}, {Key: "red", Old: red, Rev: at + 2},
	}, seen)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	for _, err := range s.Watch(ctx, "", at+2) {
		e.Fail("nothing was to come", "%v", err)
	}
	for _, err := range s.Watch(e.ctx, "", at-100) {
		e.ErrorIs(err, storage.ErrTooOld)
	}
}
