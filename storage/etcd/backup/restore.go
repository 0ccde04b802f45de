package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// Config configures Restore. Dir is required, all else has defaults.
type Config struct {
	// Dir is the data folder to make: missing or empty before.
	Dir string
	// Name is the member's name. Default "bedplate", that of an embedded.Server.
	Name string
	// PeerURL is where the member says that others reach it. Default "http://127.0.0.1:2380": an embedded.Server
	// changes it as it needs.
	PeerURL string
	// Token makes the identity of the new cluster. Default: a random one, so that no member of another cluster, the
	// old one or another restored from the same snapshot, can be taken for one of this.
	Token string
	// Bump is by how much the revision is raised: more than the number of writes since the snapshot. Default
	// 1,000,000,000, as etcd's documentation advises.
	Bump int64
	// Above is a revision that the restored store begins after, whatever the Bump: the newest of the store that is
	// given up, where known. Default 0.
	Above int64
	// WithoutHash takes a file that does not end with its hash, too, such as the file member/snap/db of a member
	// that is stopped; its pages are checked all the same. A hash that is there is always checked.
	WithoutHash bool
	// Log hears of the steps, at the debug level. Nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("no data folder given")
	case c.Bump < 0 || c.Above < 0:
		return errors.New("a revision is negative")
	}
	u, err := url.Parse(c.PeerURL)
	if err != nil {
		return fmt.Errorf("peer URL: %w", err)
	}
	if c.PeerURL != "" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("peer URL %q: want https://address:port", c.PeerURL)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "bedplate"
	}
	if c.PeerURL == "" {
		c.PeerURL = "http://127.0.0.1:2380"
	}
	if c.Token == "" {
		c.Token = "restored-" + rand.Text()
	}
	if c.Bump == 0 {
		c.Bump = 1_000_000_000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Restored is what Restore has made.
type Restored struct {
	Info
	// At is the revision that the restored store begins with. All before is compacted.
	At int64
}

// Restore makes a data folder of a snapshot. When it returns nil the folder is there, whole and on the disk; before,
// it is missing or empty, whenever the process ends, and after an error, too. See the package's documentation for
// what it does to revisions, and for clusters.
//
// While it lasts there are a folder and a lock file beside it, with the suffixes ".restoring" and ".restoring.lock".
// What a process that was killed has left there the next Restore clears away; two at a time is an error. It takes
// as much space as the snapshot.
//
// Errors: ErrNotEmpty, ErrDamaged, ErrNoHash, those of the file system and the context's.
func Restore(ctx context.Context, path string, c Config, report Report) (Restored, error) {
	if err := c.validate(); err != nil {
		return Restored{}, fmt.Errorf("configure restore: %w", err)
	}
	r := &restore{Config: c.withDefaults(), path: path, report: report}
	r.Dir = filepath.Clean(c.Dir)
	r.stage = r.Dir + ".restoring"
	if err := r.run(ctx); err != nil {
		return Restored{}, fmt.Errorf("restore %s to %s: %w", path, c.Dir, err)
	}
	report.at(Done, r.info.Size, r.info.Size)
	return Restored{r.info, r.at}, nil
}

type restore struct {
	Config
	path   string
	report Report
	stage  string // the folder that is being made
	info   Info
	at     int64
}

func (r *restore) run(ctx context.Context) (err error) {
	if err := os.MkdirAll(filepath.Dir(r.Dir), 0o700); err != nil {
		return err
	}
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.checkTarget(); err != nil {
		return err
	}
	if r.info, err = verify(ctx, r.path, r.WithoutHash, r.report); err != nil {
		return err
	}
	if err := os.RemoveAll(r.stage); err != nil {
		return fmt.Errorf("clear away what was left before: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(r.stage))
		}
	}()
	if err := r.build(); err != nil {
		return err
	}
	r.report.at(Syncing, 0, 0)
	if err := syncAll(r.stage); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.place()
}

// lock keeps another Restore to the same folder out.
func (r *restore) lock() (unlock func(), err error) {
	name := r.stage + ".lock"
	f, err := fileutil.TryLockFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, errors.New("another restore to this folder is under way")
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	unlock = func() {
		_ = os.Remove(name) // else it stays, and is locked the next time
		_ = f.Close()
	}
	// Whoever had the lock before may have removed the file that is locked now.
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(name); err == nil && !os.SameFile(mine, there) {
			err = os.ErrNotExist
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another restore to this folder has just ended: %w", err)
	}
	return unlock, nil
}

func (r *restore) checkTarget() error {
	entries, err := os.ReadDir(r.Dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return ErrNotEmpty
	}
	return nil
}

// build makes the folder beside its place.
func (r *restore) build() error {
	r.at = max(r.info.Revision+r.Bump, r.Above+1)
	if r.at < r.info.Revision || r.at > math.MaxInt64/2 {
		return fmt.Errorf("revision %d can not be raised by %d", r.info.Revision, r.Bump)
	}
	r.report.at(Building, 0, r.info.Size)
	err := guarded(func(log *zap.Logger) error {
		return snapshot.NewV3(log).Restore(snapshot.RestoreConfig{
			SnapshotPath: r.path, Name: r.Name, OutputDataDir: r.stage, PeerURLs: []string{r.PeerURL},
			InitialCluster: r.Name + "=" + r.PeerURL, InitialClusterToken: r.Token,
			SkipHashCheck: r.WithoutHash && r.info.Size%512 == 0,
			// It counts from the newest key, which may be older than the revision.
			RevisionBump: uint64(r.at - r.info.newest), MarkCompacted: true,
		})
	})
	if err != nil {
		return fmt.Errorf("build data folder: %w", err)
	}
	if err := os.Chmod(r.stage, 0o700); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return fmt.Errorf("build data folder: %w", err)
	}
	r.Log.Debug("data folder is built", "dir", r.stage, "revision", r.at, "keys", r.info.Keys)
	return nil
}

// finish takes the alarms of a full store away and looks whether the revision is the raised one.
func (r *restore) finish() error {
	path := filepath.Join(r.stage, "member", "snap", "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		last, _ := tx.Bucket(schema.Key.Name()).Cursor().Last()
		compacted := revOf(tx.Bucket(schema.Meta.Name()).Get(schema.ScheduledCompactKeyName))
		if at := revOf(last); at != r.at || compacted != r.at {
			return fmt.Errorf("%w: the revision is %d, compacted to %d, after raising it to %d", ErrDamaged, at, compacted, r.at)
		}
		return dropFull(tx)
	})
	return errors.Join(err, db.Close())
}

func dropFull(tx *bolt.Tx) error {
	alarms := tx.Bucket(schema.Alarm.Name())
	if alarms == nil {
		return nil
	}
	var full [][]byte
	err := alarms.ForEach(func(k, _ []byte) error {
		var a etcdserverpb.AlarmMember
		if err := proto.Unmarshal(k, &a); err != nil {
			return fmt.Errorf("%w: alarm: %w", ErrDamaged, err)
		}
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			full = append(full, bytes.Clone(k))
		}
		return nil
	})
	for _, k := range full {
		err = errors.Join(err, alarms.Delete(k))
	}
	return err
}

// syncAll brings a folder and all in it to the disk.
func syncAll(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return syncFolder(p)
		}
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// place gives the folder its name.
func (r *restore) place() error {
	r.report.at(Placing, 0, 0)
	err := os.Remove(r.Dir) // only if it is empty
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist):
	default:
		return fmt.Errorf("%w: %w", ErrNotEmpty, err)
	}
	if err := os.Rename(r.stage, r.Dir); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(r.Dir)); err != nil {
		return errors.Join(err, os.Rename(r.Dir, r.stage)) // to be cleared away
	}
	return nil
}
