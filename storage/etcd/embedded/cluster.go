package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Cluster makes a Server a member of a cluster that can have others: it listens for them, with mutual TLS, by
// certificates that the members make and renew themselves. A folder that had been used without Cluster becomes the
// first member of one.
//
// The certificate authority, key included, is in each member's Dir/tls: who can read one member's folder can read
// and write everything, from anywhere, even after that member was removed.
type Cluster struct {
	// Listen is where the other members connect, "10.0.0.1:2380" or ":2380". Port 0 takes a free one, which suits
	// tests: members find each other by addresses that stay.
	Listen string
	// Advertise is the address, "host:port", by which the other members reach this one. Default: Listen's; required
	// if that has no host, except that ":0" advertises 127.0.0.1. It may change from run to run: the others hear of
	// it, as long as a majority answers.
	Advertise string
	// Join is what Server.Invite of a member of the cluster returned; zero for the first member. It is used up by
	// the first Run; once the folder holds a member, Join is ignored.
	Join Invitation
	// CertLife is how long this member's certificates are good for; they are renewed before a third of it is left.
	// Default 1 year.
	CertLife time.Duration
	// InviteLife is how long the invitations of this member are good for. Default 1 hour.
	InviteLife time.Duration
	// CatchUp bounds how long a new member takes to get what is stored and to be given a vote. Default 10 minutes.
	CatchUp time.Duration
}

// Limits bounds what connections may use of a listener with TLS: the one for members and the one for clients have as
// much each. Zero values are defaults.
type Limits struct {
	// Connections is how many there may be at a time; more are refused. Default 4,096.
	Connections int
	// Handshakes is how many of them may be in the TLS handshake; the oldest goes when there is one more. Default 256.
	Handshakes int
	// Handshake is how long the TLS handshake may take, and as long again the first request. Default 10 s.
	Handshake time.Duration
}

// maxMembers is how many members a cluster may have: more make writes slower and nothing safer.
const maxMembers = 7

func (c *Cluster) validate(name string) error {
	if _, err := c.advertised(0); err != nil {
		return err
	}
	switch {
	case c.CertLife < 0 || c.InviteLife < 0 || c.CatchUp < 0:
		return errors.New("a time of Cluster is negative")
	case !c.Join.IsZero() && name != "" && name != c.Join.Name():
		return fmt.Errorf("the name is %q and Join is an invitation for %q: leave Name empty", name, c.Join.Name())
	}
	return nil
}

func (c Cluster) withDefaults() *Cluster {
	setDefault(&c.CertLife, 365*24*time.Hour)
	setDefault(&c.InviteLife, time.Hour)
	setDefault(&c.CatchUp, 10*time.Minute)
	return &c
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.Connections, 4096)
	setDefault(&l.Handshakes, 256)
	setDefault(&l.Handshake, 10*time.Second)
	return l
}

// advertised returns the address that others use, given the port that is listened on.
func (c *Cluster) advertised(port int) (string, error) {
	host, lport, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", fmt.Errorf("Cluster.Listen %q: want address:port: %w", c.Listen, err)
	}
	if c.Advertise != "" {
		if host, lport, err = net.SplitHostPort(c.Advertise); err != nil {
			return "", fmt.Errorf("Cluster.Advertise %q: want host:port: %w", c.Advertise, err)
		}
	}
	ip := net.ParseIP(host)
	switch {
	case host == "" && c.Listen == ":0" && c.Advertise == "":
		host = "127.0.0.1"
	case host == "" || ip != nil && ip.IsUnspecified():
		return "", fmt.Errorf("nobody can reach %q: set Cluster.Advertise", net.JoinHostPort(host, lport))
	}
	if lport == "0" {
		lport = fmt.Sprint(port)
	}
	return net.JoinHostPort(host, lport), nil
}

// peerURLOf returns an address in the form in which etcd keeps it.
func peerURLOf(addr string) *url.URL { return &url.URL{Scheme: "https", Host: addr} }

// checkName refuses what etcd's own texts cannot hold.
func checkName(name string) error {
	if name == "" || len(name) > 63 || strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) {
		return fmt.Errorf("member name %q: want 1 to 63 letters, digits, '-', '_' and '.'", name)
	}
	return nil
}
