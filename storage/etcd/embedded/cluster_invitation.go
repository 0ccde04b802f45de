package embedded

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Invitation lets one new member join a cluster: see [Server.Invite]. Carry it like a key: until it is used or
// has expired, whoever has it can join in the new member's place, and then read and write everything.
//
// As text (MarshalText, so also in JSON) it is one line without spaces. Printed with fmt or slog it shows the
// name alone. The zero Invitation is none.
type Invitation struct {
	name  string
	peers []string // URLs
	ca    []byte   // PEM
	cert  []byte   // PEM: the certificate of role invitation, and its key
}

const invitationPrefix = "bedplate-invitation-1."

// invitationText is what the text of an Invitation holds.
type invitationText struct {
	Peers []string `json:"peers"`
	CA    []byte   `json:"ca"`
	Cert  []byte   `json:"cert"`
}

// IsZero tells whether there is no invitation.
func (i Invitation) IsZero() bool { return i.cert == nil }

// Name is the name that the new member will have.
func (i Invitation) Name() string { return i.name }

// Expires is when the invitation ceases to be good; zero for the zero Invitation.
func (i Invitation) Expires() time.Time {
	pair, err := i.pair()
	if err != nil {
		return time.Time{}
	}
	return pair.Leaf.NotAfter
}

// String shows no secret.
func (i Invitation) String() string {
	if i.IsZero() {
		return "no invitation"
	}
	return "invitation for " + strconv.Quote(i.name)
}

// GoString shows no secret.
func (i Invitation) GoString() string { return i.String() }

// LogValue shows no secret.
func (i Invitation) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalText implements encoding.TextMarshaler. The zero Invitation is the empty text.
func (i Invitation) MarshalText() ([]byte, error) {
	if i.IsZero() {
		return nil, nil
	}
	text, err := json.Marshal(invitationText{Peers: i.peers, CA: i.ca, Cert: i.cert})
	if err != nil {
		return nil, fmt.Errorf("encode invitation: %w", err)
	}
	return []byte(invitationPrefix + base64.RawURLEncoding.EncodeToString(text)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Invitation) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*i = Invitation{}
		return nil
	}
	encoded, ok := strings.CutPrefix(string(text), invitationPrefix)
	if !ok {
		return errors.New("decode invitation: it does not begin with " + invitationPrefix)
	}
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("decode invitation: %w", err)
	}
	var t invitationText
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("decode invitation: %w", err)
	}
	got := Invitation{peers: t.Peers, ca: t.CA, cert: t.Cert}
	pair, err := got.pair()
	if err != nil {
		return fmt.Errorf("decode invitation: %w", err)
	}
	got.name = pair.Leaf.Subject.CommonName
	*i = got
	return nil
}

func (i Invitation) pair() (tls.Certificate, error) {
	if i.IsZero() {
		return tls.Certificate{}, errors.New("there is no invitation")
	}
	pair, err := tls.X509KeyPair(i.cert, i.cert)
	if err == nil && roleOf(pair.Leaf) != roleInvitation {
		err = errors.New("this is another kind of certificate")
	}
	return pair, err
}

// tls is how the holder speaks to members.
func (i Invitation) tls() (*tls.Config, error) {
	pair, err := i.pair()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(i.ca) {
		return nil, errors.New("the invitation has no certificate authority")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{pair},
		VerifyConnection: func(s tls.ConnectionState) error { return wantRole(s, roleMember) },
	}, nil
}
