// Package embedded runs a real etcd member inside the process: one folder, no port unless asked for, no
// etcd binary. It gives a storage.Backend that calls the member directly.
//
// The folder is etcd's own data folder, with a lock file beside: etcdctl, etcdutl and a standalone etcd
// can use it when the process has ended. Writes are on disk (fsync) before they are acknowledged.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bedplate/bedplate/storage"
)

// Config configures a Server. Dir is required, all else has defaults.
type Config struct {
	// Dir is the data folder; it is made if it is missing, with mode 0700. One process may use it at a time.
	Dir string
	// Name is the member's, in its cluster. Default: that in the folder, or the invitation's, or "bedplate".
	Name string
	// Cluster makes it a member of a cluster that can have others. Nil: it is the only member, and nothing listens.
	Cluster *Cluster
	// ClientListen is where etcd clients may connect, as a URL (port 0 takes a free one). With
	// "https://10.0.0.1:2379" a client needs a certificate of the cluster's own authority: see Server.ClientTLS. With
	// "unix:///run/x/etcd.sock" and "http://127.0.0.1:2379" whoever can connect can read and write everything.
	// Default "": no listener.
	ClientListen string
	// Limits bounds the connections of listeners with TLS.
	Limits Limits
	// TickMs is raft's heartbeat interval in milliseconds. Default 10, in a Cluster 100. Members of a cluster must
	// agree on it.
	TickMs uint
	// ElectionMs is raft's election timeout in milliseconds, at least 5 ticks. Default 100, in a Cluster 1,000. It is
	// about how long writes fail after the leader has died; one that was under way then is answered after 5 s and two
	// election timeouts, with an error, and may have been done. Members of a cluster must agree on it.
	ElectionMs uint
	// SnapshotCount is after how many transactions raft's log in memory is cut. Fewer take less memory.
	// Default 1,000.
	SnapshotCount uint64
	// QuotaBytes bounds the database file; beyond it writes get storage.ErrNoSpace until there is room and
	// the alarm is lifted (storage/etcd/care does it). Default 4 GiB.
	QuotaBytes int64
	// MaxRequestBytes bounds a transaction; a larger one gets storage.ErrTooLarge. Default 8 MiB.
	MaxRequestBytes uint
	// MaxOps bounds the conditions, and the writes, of a transaction. Default 1,024.
	MaxOps uint
	// History is how long old revisions are kept for reads and watches of the past, at least. Default 5
	// minutes; negative: for ever, whoever uses the server compacts it.
	History time.Duration
	// StartTimeout bounds the time until the member serves. Default 1 minute.
	StartTimeout time.Duration
	// Log hears etcd's warnings and errors; what etcd calls info goes to the debug level. Nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("no data folder given")
	case c.QuotaBytes < 0 || c.StartTimeout < 0 || c.Limits.Connections < 0 || c.Limits.Handshakes < 0 || c.Limits.Handshake < 0:
		return errors.New("a limit is negative")
	case c.ElectionMs < 5*c.TickMs:
		return fmt.Errorf("the election timeout of %d ms is less than 5 ticks of %d ms", c.ElectionMs, c.TickMs)
	}
	if c.Name != "" {
		if err := checkName(c.Name); err != nil {
			return err
		}
	}
	if c.Cluster != nil {
		if err := c.Cluster.validate(c.Name); err != nil {
			return err
		}
	}
	_, err := clientURL(c.ClientListen)
	return err
}

// name is the member's name where the folder knows none.
func (c *Config) name() string {
	if c.Name != "" {
		return c.Name
	}
	return memberName
}

// clientTLS tells whether there is a client listener with TLS.
func (c *Config) clientTLS() bool { return strings.HasPrefix(c.ClientListen, "https:") }

func clientURL(listen string) (*url.URL, error) {
	if listen == "" {
		return nil, nil
	}
	u, err := url.Parse(listen)
	switch {
	case err != nil:
		return nil, fmt.Errorf("client listener: %w", err)
	case u.Scheme == "unix" && u.Host+u.Path != "", (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return u, nil
	}
	return nil, fmt.Errorf("client listener %q: want https://address:port, unix:///path or http://address:port", listen)
}

func (c Config) withDefaults() Config {
	if c.Cluster != nil {
		c.Cluster = c.Cluster.withDefaults()
		setDefault(&c.TickMs, 100)
	}
	c.Limits = c.Limits.withDefaults()
	setDefault(&c.TickMs, 10)
	setDefault(&c.ElectionMs, max(100, 10*c.TickMs))
	setDefault(&c.SnapshotCount, 1_000)
	setDefault(&c.QuotaBytes, 4<<30)
	setDefault(&c.MaxRequestBytes, 8<<20)
	setDefault(&c.MaxOps, 1_024)
	setDefault(&c.History, 5*time.Minute)
	setDefault(&c.StartTimeout, time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Server is an etcd member in this process.
type Server struct {
	c       Config
	started atomic.Bool
	ready   chan struct{}
	closing chan struct{} // closed when the member stops serving
	done    chan struct{} // closed when Run ends
	backend *backend

	left     chan struct{} // closed when the member has left its cluster
	leftOnce sync.Once
	leaving  sync.Mutex // held while it leaves
	ca       *authority // nil without TLS; set before ready is closed

	mu       sync.Mutex
	endpoint string
}

// New checks the configuration and starts nothing.
func New(c Config) (*Server, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure embedded etcd: %w", err)
	}
	s := &Server{c: c, ready: make(chan struct{}), closing: make(chan struct{}), done: make(chan struct{}), left: make(chan struct{})}
	s.backend = &backend{s: s}
	return s, nil
}

// Ready is closed once the member serves requests.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Backend returns the member as a backend, without a network between. It may be taken at once; its calls
// wait for Ready and return storage.ErrClosed once Run is ending.
//
// In a cluster every member's backend will do, whichever member leads. When a majority is out of reach, reads and
// writes end with an error after 5 seconds and two election timeouts, or when their context ends; watches stand
// still, and go on where they were. A write that ended so, or while the leader changed, may have been done or not.
func (s *Server) Backend() storage.Backend { return s.backend }

// Endpoint is where clients connect, in the form that clientv3.Config.Endpoints takes; "" without
// ClientListen and before Ready.
func (s *Server) Endpoint() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoint
}
