package embedded_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// joins runs a member that cannot join and returns why.
func joins(t *testing.T, inv embedded.Invitation) error {
	t.Helper()
	c := quick(t, "")
	c.Cluster.Join = inv
	begin := time.Now()
	err := fails(t, c)
	require.Less(t, time.Since(begin), 30*time.Second, "a refusal is not waited for")
	return err
}

// forge sends the holder of an invitation to other members.
func forge(t *testing.T, inv embedded.Invitation, to embedded.Invitation) embedded.Invitation {
	t.Helper()
	open := func(i embedded.Invitation) (m map[string]any) {
		text, err := i.MarshalText()
		require.NoError(t, err)
		_, text64, _ := strings.Cut(string(text), ".")
		raw, err := base64.RawURLEncoding.DecodeString(text64)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &m))
		return m
	}
	m := open(inv)
	m["peers"], m["ca"] = open(to)["peers"], open(to)["ca"]
	raw, err := json.Marshal(m)
	require.NoError(t, err)
	require.NoError(t, inv.UnmarshalText([]byte("bedplate-invitation-1."+base64.RawURLEncoding.EncodeToString(raw))))
	return inv
}

func TestInvitations(t *testing.T) {
	t.Parallel()
	a, _ := start(t, quick(t, "a"))
	_, err := a.Invite(t.Context(), "a")
	require.ErrorContains(t, err, "there is a member a already")
	_, err = a.Invite(t.Context(), "b=c")
	require.ErrorContains(t, err, "member name")
	invite := func(s *embedded.Server, name string) embedded.Invitation {
		inv, err := s.Invite(t.Context(), name)
		require.NoError(t, err)
		return inv
	}
	rev, err := a.Backend().Revision(t.Context())
	require.NoError(t, err)
	inv := invite(a, "b")
	again := invite(a, "b")

	other, _ := start(t, quick(t, "x"))
	foreign := invite(other, "b")
	require.ErrorContains(t, joins(t, forge(t, foreign, inv)), "tls: ", "another cluster's certificate")

	c := quick(t, "")
	c.Cluster.Join = inv
	_, stopB := start(t, c)
	require.ErrorContains(t, joins(t, inv), "there is a member b already")
	require.ErrorContains(t, joins(t, again), "there is a member b already")
	stopB()
	_, err = embedded.New(embedded.Config{Name: "other", Dir: "x", Cluster: &embedded.Cluster{Listen: ":0", Join: inv}})
	require.ErrorContains(t, err, `invitation for "b"`)
	b, _ := start(t, c) // with the used invitation: it is a member already
	require.NoError(t, b.Leave(t.Context()))
	require.ErrorContains(t, joins(t, inv), "was used or has expired", "though the name is free again")
	now, err := a.Backend().Revision(t.Context())
	require.NoError(t, err)
	require.Equal(t, rev, now, "members come and go without a revision")
}

func TestExpiredInvitation(t *testing.T) {
	t.Parallel()
	c := quick(t, "a")
	c.Cluster.InviteLife = time.Second
	a, _ := start(t, c)
	inv, err := a.Invite(t.Context(), "b")
	require.NoError(t, err)
	<-time.After(time.Until(inv.Expires()) + time.Millisecond)
	require.ErrorContains(t, joins(t, inv), "expired at")
}

// TestUnreachable invites to a cluster that is not there any more.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	a, stop := start(t, quick(t, "a"))
	inv, err := a.Invite(t.Context(), "b")
	require.NoError(t, err)
	stop()
	c := quick(t, "")
	c.Cluster.Join, c.StartTimeout = inv, time.Second
	require.ErrorContains(t, fails(t, c), "join cluster as b: no member agreed within 1s, 1 asked")
}

func TestClusterConfig(t *testing.T) {
	for name, c := range map[string]embedded.Config{
		"address:port":          {Cluster: &embedded.Cluster{}},
		"set Cluster.Advertise": {Cluster: &embedded.Cluster{Listen: ":2380"}},
		"0.0.0.0":               {Cluster: &embedded.Cluster{Listen: "0.0.0.0:2380"}},
		"host:port":             {Cluster: &embedded.Cluster{Listen: ":0", Advertise: "x"}},
		"negative":              {Cluster: &embedded.Cluster{Listen: ":0", CertLife: -1}},
		"a limit":               {Limits: embedded.Limits{Handshakes: -1}},
		"member name":           {Name: "a b"},
		"https://":              {ClientListen: "https://"},
	} {
		c.Dir = "x"
		_, err := embedded.New(c)
		require.ErrorContains(t, err, name)
	}
}
