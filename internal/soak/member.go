//go:build linux

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// memberEnv holds the memberConfig of a process that is a member.
const memberEnv = "BEDPLATE_SOAK_MEMBER"

// memberConfig is what a member's process is told.
type memberConfig struct {
	Dir    string              // the data folder
	Image  string              // mounted at Mount first; "": none
	Mount  string              //
	Socket string              // where clients connect
	Etcd   string              // the socket for etcd's own clients; "": none
	Listen string              // for other members; "": it has none
	Join   embedded.Invitation //
	Room   bool                // remove the ballast before anything else
}

// IsMember tells whether the process was started to be a member; it must then call Member and end.
func IsMember() bool { return os.Getenv(memberEnv) != "" }

// Member runs a member in this process until it gets SIGTERM, and returns the exit code.
func Member() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var c memberConfig
	err := json.Unmarshal([]byte(os.Getenv(memberEnv)), &c)
	if err == nil {
		err = runMember(ctx, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "member ended:", err)
		return 3
	}
	return 0
}

// What a member listens with, in milliseconds: slow enough for a busy machine.
const (
	tickMs     = 50
	electionMs = 500
	walSegment = 4 << 20 // etcd's 64 MB would hardly ever be full
)

func runMember(ctx context.Context, c memberConfig) error {
	if c.Image != "" {
		if err := mountImage(c.Image, c.Mount); err != nil {
			return err
		}
	}
	if c.Room {
		if err := os.Remove(ballast(c)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	wal.SegmentSizeBytes = walSegment
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ec := embedded.Config{
		Dir: c.Dir, TickMs: tickMs, ElectionMs: electionMs, StartTimeout: 5 * time.Minute, History: -1,
		SnapshotCount: 500, Log: log,
	}
	if c.Etcd != "" {
		_ = os.Remove(c.Etcd) // left by one that was killed
		ec.ClientListen = "unix://" + c.Etcd
	}
	if c.Listen != "" {
		ec.Cluster = &embedded.Cluster{Listen: c.Listen, Join: c.Join}
	}
	server, err := embedded.New(ec)
	if err != nil {
		return err
	}
	db, err := storage.New(server.Backend(), storage.Config{Window: 2_000, Wait: time.Second, Log: log})
	if err != nil {
		return err
	}
	return serveMember(ctx, c, server, db)
}

// serveMember runs everything until ctx or the member ends.
func serveMember(ctx context.Context, c memberConfig, server *embedded.Server, db *storage.DB) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- server.Run(ctx) }()
	go func() { ended <- db.Run(ctx) }()
	running := 2
	var err error
	select {
	case <-db.Ready():
		err = listenMember(ctx, c, server, db)
	case err = <-ended:
		running--
	case <-ctx.Done():
	}
	if err == nil && running == 2 {
		select {
		case err = <-ended:
			running--
		case <-ctx.Done():
		}
	}
	cancel()
	for range running {
		err = errors.Join(err, <-ended)
	}
	return err
}

// listenMember lets clients in, and says so on the standard output.
func listenMember(ctx context.Context, c memberConfig, server *embedded.Server, db *storage.DB) error {
	d, err := newDBDoor(db)
	if err != nil {
		return err
	}
	_ = os.Remove(c.Socket) // left by one that was killed
	l, err := net.Listen("unix", c.Socket)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveDoor(ctx, conn, d, func(ctx context.Context, r request) answer { return manage(ctx, c, server, r) })
		}
	}()
	_, err = fmt.Println("ready")
	return err
}

// manage answers requests that are no client's.
func manage(ctx context.Context, c memberConfig, server *embedded.Server, r request) answer {
	switch r.Op {
	case "invite":
		inv, err := server.Invite(ctx, r.Key)
		if err != nil {
			return answer{Error: failed(err)}
		}
		text, err := inv.MarshalText()
		return answer{Text: string(text), Error: failed(err)}
	case "compact":
		b, ok := server.Backend().(interface {
			Compact(ctx context.Context, rev int64) error
		})
		if !ok {
			return answer{Error: failed(errors.New("it cannot compact"))}
		}
		return answer{Error: failed(b.Compact(ctx, r.Rev))}
	case "fill":
		return answer{Error: failed(fill(ballast(c)))}
	case "room":
		return answer{Error: failed(os.Remove(ballast(c)))}
	}
	return answer{Error: failed(fmt.Errorf("unknown request %q", r.Op))}
}

func ballast(c memberConfig) string { return filepath.Join(c.Mount, "ballast") }

// fill takes what room is left on the disk.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10, 1} {
		block := make([]byte, size)
		for err == nil {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, io.ErrShortWrite) {
			return err
		}
		err = nil
	}
	return errors.Join(f.Sync(), f.Close())
}
