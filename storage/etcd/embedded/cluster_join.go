package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
)

// joinPath is where a new member, by its invitation's certificate, asks to be taken in.
const joinPath = "/bedplate/v1/join"

const (
	maxAnswer    = 1 << 20
	callTimeout  = 15 * time.Second
	probeTimeout = 2 * time.Second
)

// joinRequest asks for membership. Who asks again with the same nonce gets the same.
type joinRequest struct {
	Nonce   []byte `json:"nonce"`
	PeerURL string `json:"peerURL"`
}

// joinAnswer is all that a member must know; the connection is encrypted, and the asker was invited.
type joinAnswer struct {
	ID     uint64   `json:"id"`
	Peers  []string `json:"peers"`
	CACert []byte   `json:"caCert"`
	CAKey  []byte   `json:"caKey"`
}

// memberID is the ID that a joiner gets.
func memberID(nonce []byte) uint64 {
	sum := sha256.Sum256(append([]byte("bedplate member "), nonce...))
	return max(1, binary.BigEndian.Uint64(sum[:])>>1)
}

// join gets this process into the cluster as a member that does not run yet, and the CA into its folder. The state
// is stored first: a folder with the CA and no state would be one of a new cluster.
func (k *secure) join(ctx context.Context, inv Invitation) error {
	if end := inv.Expires(); time.Now().After(end) {
		return fmt.Errorf("the invitation expired at %s: get another from Server.Invite", end.Format(time.RFC3339))
	}
	if k.st.Nonce == nil || k.st.Name != inv.Name() {
		k.st.Name, k.st.Nonce = inv.Name(), make([]byte, 32)
		_, _ = rand.Read(k.st.Nonce) // never fails
		if err := k.st.store(k.s.c.Dir); err != nil {
			return err
		}
	}
	tlsConf, err := inv.tls()
	if err != nil {
		return err
	}
	c := newCaller(&http.Transport{TLSClientConfig: tlsConf})
	defer c.close()
	var answer joinAnswer
	err = c.retry(ctx, k.s.c.StartTimeout, inv.peers, func(ctx context.Context, peer string) error {
		return c.call(ctx, http.MethodPost, peer+joinPath, joinRequest{k.st.Nonce, k.peerURL.String()}, &answer)
	})
	if err != nil {
		return err
	}
	ca, err := parseAuthority(answer.CACert, answer.CAKey)
	if err != nil {
		return fmt.Errorf("certificate authority of the cluster: %w", err)
	}
	k.st.ID, k.st.Peers = answer.ID, answer.Peers
	if err := k.st.store(k.s.c.Dir); err != nil {
		return err
	}
	ca.dir = k.dir()
	k.ca = ca
	return ca.store()
}

// initialCluster asks the members who they are, in the form that etcd wants of a member that joins. The answer must
// not change until etcd has asked, too, or etcd's start fails; the next one then goes on.
func (k *secure) initialCluster(ctx context.Context) (string, error) {
	c := newCaller(&http.Transport{TLSClientConfig: k.ca.clientTLS(memberFile)})
	defer c.close()
	var members []*membership.Member
	err := c.retry(ctx, k.s.c.StartTimeout, k.st.Peers, func(ctx context.Context, peer string) error {
		members = nil
		if err := c.call(ctx, http.MethodGet, peer+"/members", nil, &members); err != nil {
			return err
		}
		if !slices.ContainsFunc(members, func(m *membership.Member) bool { return uint64(m.ID) == k.st.ID }) {
			return fmt.Errorf("%s does not know this member (yet, or because it was removed: then delete the data folder and join anew)", peer)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	var parts []string
	for _, m := range members {
		name := m.ID.String() // etcd wants names, but does not compare them
		if uint64(m.ID) == k.st.ID {
			name = k.st.Name
		}
		for _, u := range m.PeerURLs {
			parts = append(parts, name+"="+u)
		}
	}
	return strings.Join(parts, ","), nil
}

// caller calls members over HTTP.
type caller struct {
	http *http.Client
	t    *http.Transport
}

func newCaller(t *http.Transport) *caller {
	t.TLSHandshakeTimeout = callTimeout
	return &caller{t: t, http: &http.Client{
		Transport: t, Timeout: callTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *caller) close() { c.t.CloseIdleConnections() }

// refusal is an answer that will not change.
type refusal struct{ error }

// Unwrap returns what was said.
func (r refusal) Unwrap() error { return r.error }

// retry asks one member after the other, again and again, until one agrees, all refuse, or time is up.
func (c *caller) retry(ctx context.Context, limit time.Duration, peers []string, ask func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		var errs []error
		refused := 0
		for _, p := range peers {
			err := ask(ctx, p)
			if err == nil {
				return nil
			}
			if errors.As(err, new(refusal)) { // of one member, or of somebody who has its address now
				refused++
			}
			errs = append(errs, err)
		}
		if refused > 0 && refused == len(peers) {
			return errors.Join(errs...)
		}
		if !pause(ctx, 200*time.Millisecond) {
			return fmt.Errorf("no member agreed within %s, %d asked: %w", limit, len(peers), errors.Join(errs...))
		}
	}
}

// call makes one call; what the other side says to a call that must not be repeated is a refusal.
func (c *caller) call(ctx context.Context, method, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("call member: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if strings.Contains(err.Error(), "tls: ") { // the certificates of one side won't do for the other
			err = refusal{err}
		}
		return fmt.Errorf("call member: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("call member %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("%s: %s", req.URL.Host, bytes.TrimSpace(text))
		if resp.StatusCode < 500 {
			return refusal{err}
		}
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("call member %s: answer: %w", url, err)
	}
	return nil
}
