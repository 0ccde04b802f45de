//go:build linux

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Store is a folder of images, layers and root file systems. All its methods may be called concurrently.
type Store struct {
	cfg  Config
	log  *slog.Logger
	lock *os.File

	ctx    context.Context // ends when the store closes
	cancel context.CancelFunc
	slots  chan struct{} // one for each layer being fetched

	pulls        flights[Image]
	layerFlights flights[*layer]
	busy         keyLock      // container ids being worked on
	serial       atomic.Int64 // for names in tmp

	write sync.Mutex // held over changes of records on disk; taken before mu
	mu    sync.Mutex // held for moments: guards what follows
	state
	closed bool
}

// state is what the folder holds, in memory.
type state struct {
	images map[string]*record    // by manifest digest
	refs   map[string]refEntry   // by canonical name
	layers map[string]*layer     // by diff id
	pins   map[string]int        // diff ids that a pull in progress counts on
	roots  map[string]*rootEntry // by container id
}

// record is an image as stored: images/<digest>.json. It never changes.
type record struct {
	Manifest string          `json:"manifest"`
	ID       string          `json:"id"`
	Layers   []string        `json:"layers"`
	Config   ContainerConfig `json:"config"`
	Platform Platform        `json:"platform"`
	Pulled   time.Time       `json:"pulled"`
}

// refEntry is what a name leads to; refs.json holds all of them.
type refEntry struct {
	Target   string `json:"target"`
	Manifest string `json:"manifest"`
}

// layer is an unpacked layer: layers/<diff id>/layer.json beside its fs folder.
type layer struct {
	Digest     string `json:"digest"`
	Bytes      int64  `json:"bytes"`
	Entries    int64  `json:"entries"`
	OpaqueRoot bool   `json:"opaqueRoot,omitempty"`
}

// formatVersion is written to the folder's format file. A newer one is refused.
const formatVersion = 1

// Open opens the store in cfg.Dir, makes it when it isn't there, and removes what a crash left behind. Only one
// process, and one Store, may have a folder open: others get ErrLocked. Close it when done.
func Open(cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("image store %s: %w: unpacking images needs root", cfg.Dir, ErrUnsupported)
	}
	s := &Store{cfg: cfg, log: cfg.Log, slots: make(chan struct{}, cfg.Concurrency)}
	s.serial.Store(time.Now().UnixNano()) // apart from names that an earlier process left and nobody could remove
	if err := s.open(); err != nil {
		if s.lock != nil {
			s.lock.Close()
		}
		return nil, fmt.Errorf("open image store %s: %w", cfg.Dir, err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close cancels pulls, waits for their end and lets go of the folder. Mounts stay. A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.cancel()
	s.pulls.close()
	s.layerFlights.close()
	s.busy.close()
	s.write.Lock()
	defer s.write.Unlock()
	return s.lock.Close()
}

// alive gives ErrClosed after Close.
func (s *Store) alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.cfg.Dir}, elem...)...)
}

func (s *Store) open() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	if err := s.checkFormat(); err != nil {
		return err
	}
	for _, d := range []string{"layers", "images", "containers", "tmp", "empty"} {
		if err := os.Mkdir(s.path(d), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// What an image without layers shows as its root.
	if err := os.Chmod(s.path("empty"), 0o755); err != nil {
		return err
	}
	if err := s.sweep(); err != nil {
		return err
	}
	return s.load()
}

func (s *Store) takeLock() error {
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return ErrLocked
		}
		return os.NewSyscallError("flock", err)
	}
	s.lock = f
	return nil
}

func (s *Store) checkFormat() error {
	raw, err := os.ReadFile(s.path("format"))
	if errors.Is(err, fs.ErrNotExist) {
		return s.writeFile("format", []byte(strconv.Itoa(formatVersion)+"\n"))
	}
	if err != nil {
		return err
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || v < 1 {
		return fmt.Errorf("%w: format file holds %.20q", ErrInvalid, raw)
	}
	if v > formatVersion {
		return fmt.Errorf("%w: the folder has format %d, this program knows up to %d", ErrUnsupported, v, formatVersion)
	}
	return nil
}

// sweep removes what was being made, or removed, when a process ended.
func (s *Store) sweep() error {
	left, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return err
	}
	for _, e := range left {
		// What can't be removed (an immutable file, say) must not keep the node from starting.
		if err := s.removeTree(s.path("tmp", e.Name())); err != nil {
			s.log.Warn("unfinished work of an earlier run stays", "err", err)
		}
	}
	if len(left) > 0 {
		s.log.Info("removed unfinished work of an earlier run", "dir", s.cfg.Dir, "count", len(left))
	}
	return nil
}

// load reads the records. What is damaged or lacks its parts is forgotten: it is pulled again.
func (s *Store) load() error {
	s.state = state{
		images: map[string]*record{}, refs: map[string]refEntry{}, layers: map[string]*layer{},
		pins: map[string]int{}, roots: map[string]*rootEntry{},
	}
	if err := s.loadLayers(); err != nil {
		return err
	}
	if err := s.loadImages(); err != nil {
		return err
	}
	if err := s.loadRefs(); err != nil {
		return err
	}
	return s.loadRoots()
}

func (s *Store) loadLayers() error {
	entries, err := os.ReadDir(s.path("layers"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		var l layer
		err := readJSON(s.path("layers", e.Name(), "layer.json"), &l)
		if err == nil && fileName(l.Digest) == e.Name() {
			s.layers[l.Digest] = &l
			continue
		}
		s.log.Warn("removing a damaged layer", "layer", e.Name(), "err", err)
		if err := s.discard(s.path("layers", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) loadImages() error {
	entries, err := os.ReadDir(s.path("images"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		var r record
		err := readJSON(s.path("images", e.Name()), &r)
		if err == nil && fileName(r.Manifest)+".json" == e.Name() && s.complete(&r) {
			s.images[r.Manifest] = &r
			continue
		}
		s.log.Warn("forgetting an image that is damaged or lacks layers", "image", e.Name(), "err", err)
		if err := os.Remove(s.path("images", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) complete(r *record) bool {
	for _, l := range r.Layers {
		if s.layers[l] == nil {
			return false
		}
	}
	return true
}

func (s *Store) loadRefs() error {
	err := readJSON(s.path("refs.json"), &s.refs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("forgetting damaged image names", "err", err)
		s.refs = map[string]refEntry{}
	}
	if s.refs == nil { // the file holds "null"
		s.refs = map[string]refEntry{}
	}
	for name, e := range s.refs {
		if s.images[e.Manifest] == nil {
			delete(s.refs, name)
		}
	}
	return nil
}

// commitLayer gives a complete layer its name. Another pull may have been faster.
func (s *Store) commitLayer(tmp string, l *layer) (*layer, error) {
	raw, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(tmp, "layer.json"), raw, 0o600); err != nil {
		return nil, errors.Join(err, s.removeTree(tmp))
	}
	if err := s.syncAll(tmp); err != nil {
		return nil, errors.Join(err, s.removeTree(tmp))
	}
	s.write.Lock()
	defer s.write.Unlock()
	if old := s.layer(l.Digest); old != nil {
		return old, s.removeTree(tmp)
	}
	if err := os.Rename(tmp, s.path("layers", fileName(l.Digest))); err != nil {
		return nil, errors.Join(err, s.removeTree(tmp))
	}
	s.mu.Lock()
	s.layers[l.Digest] = l
	s.mu.Unlock()
	return l, s.syncDir("layers")
}

func (s *Store) layer(digest string) *layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.layers[digest]
}

// fileName is a digest as a file's name. What isn't a digest has none.
func fileName(digest string) string {
	h, err := v1.NewHash(digest)
	if err != nil {
		return ""
	}
	return h.Algorithm + "-" + h.Hex
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}
