package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/lease"
)

// door takes new members in. An invitation is a certificate with the number of a lease: revoking the lease uses it
// up, once, for the whole cluster, and it makes no revision.
type door struct {
	k *secure
	e *etcdserver.EtcdServer
}

func newDoor(k *secure, e *etcdserver.EtcdServer) *door { return &door{k, e} }

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req joinRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&req); err != nil {
		http.Error(w, "decode request: "+err.Error(), http.StatusBadRequest)
		return
	}
	cert := invitationOf(r.TLS)
	if cert == nil {
		http.Error(w, "joining needs an invitation", http.StatusForbidden)
		return
	}
	number, err := strconv.ParseInt(cert.Subject.SerialNumber, 16, 64)
	if err != nil {
		http.Error(w, "the invitation has no number", http.StatusForbidden)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), d.e.Cfg.ReqTimeout())
	defer cancel()
	answer, err := d.admit(ctx, cert.Subject.CommonName, number, &req)
	if err != nil {
		code := http.StatusServiceUnavailable
		if errors.As(err, new(refusal)) {
			code = http.StatusForbidden
		}
		http.Error(w, err.Error(), code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the joiner asks again if it does not get it
}

func refusef(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

var errInvitationGone = refusal{errors.New("the invitation was used or has expired: get another from Server.Invite")}

func (d *door) admit(ctx context.Context, name string, number int64, req *joinRequest) (*joinAnswer, error) {
	u, err := url.Parse(req.PeerURL)
	if err != nil || u.Scheme != "https" || u.Host == "" || len(req.Nonce) < 16 {
		return nil, refusef("a member's address must be https://host:port, and its nonce 16 bytes")
	}
	if d.e.Cluster().Version() == nil {
		return nil, errors.New("the cluster has not agreed on its version yet")
	}
	members, err := d.e.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil {
		return nil, err
	}
	id := types.ID(memberID(req.Nonce))
	for _, m := range members {
		if m.ID == id { // asked again
			if err := d.use(ctx, number); err != nil && !errors.Is(err, lease.ErrLeaseNotFound) {
				return nil, err
			}
			return d.answer(id, members)
		}
	}
	if err := d.check(ctx, name, number, members); err != nil {
		return nil, err
	}
	members, err = d.e.AddMember(ctx, membership.Member{
		ID: id, RaftAttributes: membership.RaftAttributes{PeerURLs: []string{u.String()}, IsLearner: true},
	})
	switch {
	case errors.Is(err, membership.ErrPeerURLexists):
		return nil, refusef("the address %s is that of another member", u)
	case errors.Is(err, membership.ErrIDRemoved):
		return nil, refusef("this member was removed: delete its data folder")
	case err != nil: // too many learners, a member that is not connected for long enough, no leader
		return nil, err
	}
	if err := d.use(ctx, number); errors.Is(err, lease.ErrLeaseNotFound) {
		_, err := d.e.RemoveMember(ctx, uint64(id)) // somebody else used it at the same moment
		return nil, errors.Join(errInvitationGone, err)
	} else if err != nil {
		return nil, err // the joiner asks again
	}
	d.k.s.c.Log.Info("embedded etcd: take in member", "name", name, "peer", u.String())
	return d.answer(id, members)
}

// use makes an invitation of no use to anybody else.
func (d *door) use(ctx context.Context, number int64) error {
	_, err := d.e.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: number})
	return err
}

// check sees whether there is room for the new member, and whether the invitation is good.
func (d *door) check(ctx context.Context, name string, number int64, members []*membership.Member) error {
	if err := checkRoom(name, members); err != nil {
		return refusal{err}
	}
	left, err := d.e.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: number})
	if errors.Is(err, lease.ErrLeaseNotFound) || err == nil && left.TTL <= 0 {
		return errInvitationGone
	}
	if err != nil && !errors.Is(err, etcderrors.ErrCanceled) {
		return fmt.Errorf("look for the invitation: %w", err)
	}
	return err
}

// checkRoom tells why there is no room for one more member of this name.
func checkRoom(name string, members []*membership.Member) error {
	if len(members) >= maxMembers {
		return fmt.Errorf("the cluster has %d members, which is the most: remove one first", len(members))
	}
	for _, m := range members {
		if m.Name == name {
			return fmt.Errorf("there is a member %s already: choose another name, or remove it first if it is dead", name)
		}
	}
	return nil
}

func (d *door) answer(id types.ID, members []*membership.Member) (*joinAnswer, error) {
	keyPEM, err := keyToPEM(d.k.ca.key)
	if err != nil {
		return nil, err
	}
	a := &joinAnswer{ID: uint64(id), CACert: certToPEM(d.k.ca.cert.Raw), CAKey: keyPEM}
	for _, m := range members {
		if m.ID != id {
			a.Peers = append(a.Peers, m.PeerURLs...)
		}
	}
	if err := d.k.note(d.e); err != nil {
		d.k.s.c.Log.Warn("embedded etcd: the list of members is not stored", "error", err)
	}
	return a, nil
}
