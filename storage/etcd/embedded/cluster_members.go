package embedded

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
)

// Member is one member of a cluster, as another sees it.
type Member struct {
	ID       uint64
	Name     string // "" until it has been started
	PeerURLs []string
	Self     bool // the member that was asked
	Leader   bool
	Learner  bool // it has no vote yet
	Healthy  bool // it answers
}

// Errors of membership, to compare with errors.Is.
var (
	// ErrNoCluster: the Server has no Config.Cluster.
	ErrNoCluster = errors.New("Config.Cluster is not set")
	// ErrQuorum: after the change too few members would answer for any write to succeed.
	ErrQuorum = errors.New("the cluster would lose its quorum")
	// ErrNoMember: there is no such member.
	ErrNoMember = errors.New("no such member")
)

// cluster waits until the member serves; the caller must call leave.
func (s *Server) cluster(ctx context.Context) (_ *etcdserver.EtcdServer, leave func(), _ error) {
	if s.c.Cluster == nil {
		return nil, nil, ErrNoCluster
	}
	if err := s.backend.enter(ctx); err != nil {
		return nil, nil, err
	}
	return s.backend.etcd, s.backend.leave, nil
}

// list returns the members that the cluster agrees on.
func (s *Server) list(ctx context.Context, e *etcdserver.EtcdServer) (list []*membership.Member, err error) {
	err = s.backend.read(ctx, func() (err error) {
		list, err = e.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		return err
	})
	return list, err
}

// Invite makes an invitation for a new member of the given name. A process whose Config.Cluster.Join it is joins
// the cluster: first without a vote, and with one as soon as it has what is stored. An invitation can be used once,
// until Cluster.InviteLife is over. One member joins at a time; others wait for it.
//
// Errors: ErrNoCluster, storage.ErrClosed, a name that is taken, a cluster that has 7 members, no majority, the
// context's.
func (s *Server) Invite(ctx context.Context, name string) (Invitation, error) {
	inv, err := s.invite(ctx, name)
	if err != nil {
		return Invitation{}, fmt.Errorf("invite member %s: %w", name, err)
	}
	return inv, nil
}

func (s *Server) invite(ctx context.Context, name string) (Invitation, error) {
	if err := checkName(name); err != nil {
		return Invitation{}, err
	}
	e, leave, err := s.cluster(ctx)
	if err != nil {
		return Invitation{}, err
	}
	defer leave()
	members, err := s.list(ctx, e)
	if err != nil {
		return Invitation{}, translate(err)
	}
	if err := checkRoom(name, members); err != nil {
		return Invitation{}, err
	}
	life := s.c.Cluster.InviteLife
	number, err := leaseNumber(ctx, e, life)
	if err != nil {
		return Invitation{}, err
	}
	id := identity{role: roleInvitation, name: name, serial: fmt.Sprintf("%x", number)}
	text, err := s.ca.pair(id, nil, life)
	if err != nil {
		return Invitation{}, err
	}
	inv := Invitation{name: name, ca: certToPEM(s.ca.cert.Raw), cert: text}
	for _, m := range members {
		inv.peers = append(inv.peers, m.PeerURLs...)
	}
	return inv, nil
}

// leaseNumber grants the lease that is an invitation's number.
func leaseNumber(ctx context.Context, e *etcdserver.EtcdServer, life time.Duration) (int64, error) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	number := int64(binary.BigEndian.Uint64(b[:])>>1 | 1)
	_, err := e.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: number, TTL: max(1, int64(life.Seconds()))})
	return number, translate(err)
}

// Members lists the members, as the cluster agrees on them; that needs a majority. Each is asked whether it answers,
// which takes at most 2 seconds. Errors: ErrNoCluster, storage.ErrClosed, the context's, etcd's.
func (s *Server) Members(ctx context.Context) ([]Member, error) {
	e, leave, err := s.cluster(ctx)
	if err == nil {
		defer leave()
		var list []*membership.Member
		if list, err = s.list(ctx, e); err == nil {
			return probe(ctx, s.ca, e, list), nil
		}
	}
	return nil, fmt.Errorf("list members of cluster: %w", translate(err))
}

// probe asks each member whether it answers.
func probe(ctx context.Context, ca *authority, e *etcdserver.EtcdServer, list []*membership.Member) []Member {
	c := newCaller(&http.Transport{TLSClientConfig: ca.clientTLS(memberFile)})
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	out := make([]Member, len(list))
	for i, m := range list {
		out[i] = Member{
			ID: uint64(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.IsLearner,
			Self: m.ID == e.MemberID(), Leader: m.ID == e.Leader(),
		}
		if out[i].Self {
			out[i].Healthy = true
			continue
		}
		wg.Go(func() {
			for _, u := range m.PeerURLs {
				var version any
				out[i].Healthy = out[i].Healthy || c.call(ctx, http.MethodGet, u+"/version", nil, &version) == nil
			}
		})
	}
	wg.Wait()
	return out
}

// Remove removes a member, dead as a rule, from the cluster; it ends if it still runs. Removing the member itself is
// Leave. Errors: ErrNoMember, ErrQuorum if those that answer would not be a majority of those that remain, and
// those of Members.
func (s *Server) Remove(ctx context.Context, id uint64) error {
	e, leave, err := s.cluster(ctx)
	if err == nil {
		defer leave()
		if id == uint64(e.MemberID()) {
			return s.leaveCluster(ctx, e)
		}
		err = s.remove(ctx, e, id)
	}
	if err != nil {
		return fmt.Errorf("remove member %x: %w", id, translate(err))
	}
	return nil
}

// Leave takes this member out of its cluster; Run then ends without an error. The folder cannot be used any more,
// and says so. Errors are those of Remove; the only member cannot leave.
func (s *Server) Leave(ctx context.Context) error {
	e, leave, err := s.cluster(ctx)
	if err != nil {
		return fmt.Errorf("leave cluster: %w", err)
	}
	defer leave()
	return s.leaveCluster(ctx, e)
}

func (s *Server) leaveCluster(ctx context.Context, e *etcdserver.EtcdServer) error {
	s.leaving.Lock()
	defer s.leaving.Unlock()
	if len(e.Cluster().Members()) == 1 {
		return errors.New("leave cluster: there is no other member: stop this one, and delete its folder")
	}
	for try := 0; e.Leader() == e.MemberID() && try < 3; try++ {
		if err := e.TryTransferLeadershipOnShutdown(); err != nil {
			s.c.Log.Debug("embedded etcd: the leader leaves without a successor", "error", err)
		}
	}
	others := e.Cluster().Members()
	err := s.remove(ctx, e, uint64(e.MemberID()))
	stopped := errors.Is(err, etcderrors.ErrStopped) // perhaps because it went so fast that the answer was lost
	if err != nil && !stopped {
		return fmt.Errorf("leave cluster: %w", translate(err))
	}
	if known := s.spread(ctx, e, others); stopped && !known {
		return fmt.Errorf("leave cluster: the outcome is open: %w", translate(err))
	}
	s.leftOnce.Do(func() { close(s.left) })
	return nil
}

// spreadTimeout bounds how long a member that leaves stays for the others' sake.
const spreadTimeout = 5 * time.Second

// spread waits until a majority of those that remain know that this member has left. If it led and were gone before,
// they might go on counting it, and not be enough without.
func (s *Server) spread(ctx context.Context, e *etcdserver.EtcdServer, all []*membership.Member) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), spreadTimeout)
	defer cancel()
	c := newCaller(&http.Transport{TLSClientConfig: s.ca.clientTLS(memberFile)})
	defer c.close()
	for {
		voters, know := 0, 0
		for _, m := range all {
			if m.ID == e.MemberID() || m.IsLearner {
				continue
			}
			voters++
			var seen []*membership.Member
			if c.call(ctx, http.MethodGet, m.PeerURLs[0]+"/members", nil, &seen) == nil &&
				!slices.ContainsFunc(seen, func(o *membership.Member) bool { return o.ID == e.MemberID() }) {
				know++
			}
		}
		if know > voters/2 {
			return true
		}
		if !pause(ctx, 50*time.Millisecond) {
			s.c.Log.Warn("embedded etcd: the member leaves before the others have heard of it")
			return false
		}
	}
}

// removeTimeout bounds a removal. Etcd wants members to be connected for 5 seconds before it goes on.
const removeTimeout = 20 * time.Second

func (s *Server) remove(ctx context.Context, e *etcdserver.EtcdServer, id uint64) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	list, err := s.list(ctx, e)
	if err != nil {
		return err
	}
	if err := mayRemove(probe(ctx, s.ca, e, list), id); err != nil {
		return err
	}
	for {
		_, err := e.RemoveMember(ctx, id)
		switch {
		case errors.Is(err, membership.ErrIDNotFound), errors.Is(err, membership.ErrIDRemoved):
			return nil // an earlier try did it
		case !errors.Is(err, etcderrors.ErrUnhealthy):
			return err
		case !pause(ctx, 200*time.Millisecond):
			return fmt.Errorf("%w: %w", ErrQuorum, err)
		}
	}
}

// mayRemove tells why a member must stay.
func mayRemove(members []Member, id uint64) error {
	found, voters, healthy := false, 0, 0
	var silent []string
	for _, m := range members {
		switch {
		case m.ID == id:
			found = true
			if m.Learner {
				return nil
			}
		case m.Learner:
		default:
			voters++
			if m.Healthy {
				healthy++
			} else {
				silent = append(silent, m.Name+" ("+strings.Join(m.PeerURLs, ", ")+")")
			}
		}
	}
	switch {
	case !found:
		return ErrNoMember
	case healthy < voters/2+1:
		return fmt.Errorf("%w: of the %d that remain only %d answer: start %s first", ErrQuorum, voters, healthy, strings.Join(silent, ", "))
	}
	return nil
}
