//go:build linux

package soak

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// solo is a member that has no others, perhaps on a disk of its own.
type solo struct {
	c   memberConfig
	log string
	p   *process
}

// newSolo is the member whose files are in a folder, or in the image if there is one.
func newSolo(dir, image string) *solo {
	s := &solo{log: filepath.Join(dir, "log"), c: memberConfig{
		Dir: filepath.Join(dir, "member"), Socket: filepath.Join(dir, "sock"), Etcd: filepath.Join(dir, "etcd"),
	}}
	if image != "" {
		s.c.Image, s.c.Mount = image, filepath.Join(dir, "disk")
		s.c.Dir = filepath.Join(s.c.Mount, "member")
	}
	return s
}

func (s *solo) start(ctx context.Context) (err error) {
	if s.p, err = start(s.c, s.log, nil); err != nil {
		return err
	}
	return s.p.await(ctx, startLimit)
}

// stop ends it in good order.
func (s *solo) stop() error {
	if err := s.p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.p.done:
		return s.p.err
	case <-time.After(startLimit):
		s.p.kill()
		return fmt.Errorf("the member did not stop within %s", startLimit)
	}
}

func (s *solo) door() *socketDoor { return &socketDoor{path: s.c.Socket} }

// client speaks to its etcd.
func (s *solo) client() (*clientv3.Client, error) { return dialEtcd("unix://" + s.c.Etcd) }

// all is what both tables hold.
func (s *solo) all(ctx context.Context) (all []listing, err error) {
	d := s.door()
	defer d.Close()
	for _, table := range tables {
		l, err := d.List(ctx, table, 0)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", table, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// manage sends a request that is no client's.
func (s *solo) manage(ctx context.Context, op string) error {
	d := s.door()
	defer d.Close()
	_, err := d.ask(ctx, request{Op: op})
	return err
}
