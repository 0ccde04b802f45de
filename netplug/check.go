//go:build linux

package netplug

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Finding is something on the host that stops what pods send, and how to mend it.
type Finding struct {
	What, Remedy string
}

// String is the finding in one line.
func (f Finding) String() string { return f.What + ": " + f.Remedy }

// Check looks for other firewalls of the host that would drop what pods send: Docker's, firewalld's and ufw's, and any
// chain that drops what it isn't told to forward, in nftables and in the older iptables. It reads and changes
// nothing. A firewall that accepts what comes from the links or from the ranges of c is no finding; rules that look at
// anything else are not weighed.
func Check(c Config) ([]Finding, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure check: %w", err)
	}
	ns, err := openNS(c.Host)
	if err != nil {
		return nil, fmt.Errorf("check firewalls: %w", err)
	}
	defer ns.Close()
	found, err := checkTables(ns, &c)
	if err != nil {
		return nil, fmt.Errorf("check firewalls: %w", err)
	}
	old, err := checkLegacy(ns, &c)
	if err != nil {
		return nil, fmt.Errorf("check firewalls: %w", err)
	}
	return append(found, old...), nil
}

// inspected is what a look at the nftables of a host needs of a table.
type inspected struct {
	family  nftables.TableFamily
	name    string
	chains  []string
	drops   []string // its chains that drop what they don't know
	accepts bool     // some rule accepts what comes from pods
}

func checkTables(ns *os.File, c *Config) ([]Finding, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return nil, err
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	var all []*inspected
	for _, ch := range chains {
		if ch.Table.Family != nftables.TableFamilyIPv4 && ch.Table.Family != nftables.TableFamilyINet || strings.HasSuffix(ch.Table.Name, tables) {
			continue
		}
		i := slices.IndexFunc(all, func(t *inspected) bool { return t.family == ch.Table.Family && t.name == ch.Table.Name })
		if i < 0 {
			i, all = len(all), append(all, &inspected{family: ch.Table.Family, name: ch.Table.Name})
		}
		if err := all[i].look(conn, ch, c); err != nil {
			return nil, err
		}
	}
	var out []Finding
	for _, t := range all {
		if len(t.drops) > 0 && !t.accepts {
			out = append(out, Finding{t.what(), t.remedy(c)})
		}
	}
	return out, nil
}

// look adds what a chain says.
func (t *inspected) look(conn *nftables.Conn, ch *nftables.Chain, c *Config) error {
	t.chains = append(t.chains, ch.Name)
	rules, err := conn.GetRules(ch.Table, ch)
	if err != nil {
		return fmt.Errorf("read nftables chain %s %s: %w", ch.Table.Name, ch.Name, err)
	}
	for _, r := range rules {
		t.accepts = t.accepts || acceptsPods(r.Exprs, c)
	}
	forward := ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Type == nftables.ChainTypeFilter
	if forward && (ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop || len(rules) > 0 && refusesAll(rules[len(rules)-1].Exprs)) {
		t.drops = append(t.drops, ch.Name)
	}
	return nil
}

// acceptsPods says whether a rule lets pass what comes by the pods' links, or from their ranges.
func acceptsPods(list []expr.Any, c *Config) bool {
	theirs, accept := false, false
	for _, e := range list {
		switch e := e.(type) {
		case *expr.Cmp:
			name := bytes.TrimRight(e.Data, "\x00")
			theirs = theirs || e.Op == expr.CmpOpEq && len(name) > 0 && (bytes.HasPrefix([]byte(c.Prefix+"-"), name) && len(name) >= len(c.Prefix) || string(name) == bridgeName(c.Prefix) || isRange(e.Data, c.Ranges))
		case *expr.Verdict:
			accept = accept || e.Kind == expr.VerdictAccept
		}
	}
	return theirs && accept
}

func isRange(data []byte, ranges []netip.Prefix) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool {
		whole := p.Masked().Addr().AsSlice()
		return bytes.Equal(data, whole) || len(data) > 0 && len(data)*8 == p.Bits() && bytes.Equal(data, whole[:len(data)])
	})
}

// refusesAll says whether a rule refuses whatever comes to it.
func refusesAll(list []expr.Any) bool {
	refuses := false
	for _, e := range list {
		switch e := e.(type) {
		case *expr.Cmp, *expr.Lookup, *expr.Range, *expr.Match:
			return false
		case *expr.Reject:
			refuses = true
		case *expr.Verdict:
			refuses = refuses || e.Kind == expr.VerdictDrop
		}
	}
	return refuses
}

func (t *inspected) what() string {
	family := "ip"
	if t.family == nftables.TableFamilyINet {
		family = "inet"
	}
	return fmt.Sprintf("%s drops what pods send (nftables table %s %s, chain %s)", ownerOf(t.name, t.chains), family, t.name, strings.Join(t.drops, ", "))
}

// ownerOf guesses whose a table is.
func ownerOf(table string, chains []string) string {
	has := func(prefix string) bool {
		return slices.ContainsFunc(chains, func(c string) bool { return strings.HasPrefix(c, prefix) })
	}
	switch {
	case table == "firewalld":
		return "firewalld"
	case has("ufw-"):
		return "ufw"
	case has("DOCKER-USER"):
		return "Docker"
	}
	return "a firewall of the host"
}

func (t *inspected) remedy(c *Config) string {
	return remedyOf(ownerOf(t.name, t.chains), t.name == "filter" && t.family == nftables.TableFamilyIPv4, "iptables", t, c)
}

// remedyOf is what to do. iptables says whether the chain is one that the command of that name shows.
func remedyOf(owner string, iptables bool, command string, t *inspected, c *Config) string {
	link := c.Prefix + "-+"
	if c.Mode == Bridge {
		link = bridgeName(c.Prefix)
	}
	switch {
	case owner == "firewalld":
		return fmt.Sprintf("firewall-cmd --permanent --zone=trusted%s && firewall-cmd --reload", joinRanges(" --add-source=%s", c))
	case owner == "ufw":
		return fmt.Sprintf("ufw route allow from %[1]s && ufw route allow to %[1]s", joinRanges("%s", c))
	case iptables:
		chain := "FORWARD"
		if owner == "Docker" {
			chain = "DOCKER-USER"
		}
		return fmt.Sprintf("%[1]s -I %[2]s -i %[3]s -j ACCEPT && %[1]s -I %[2]s -o %[3]s -j ACCEPT", command, chain, link)
	}
	link = strings.Replace(link, "+", "*", 1)
	family := map[bool]string{true: "inet", false: "ip"}[t.family == nftables.TableFamilyINet]
	at := fmt.Sprintf("nft insert rule %s %s %s", family, t.name, t.drops[0])
	return fmt.Sprintf(`%[1]s iifname '"%[2]s"' accept && %[1]s oifname '"%[2]s"' accept`, at, link)
}

func joinRanges(format string, c *Config) string {
	if len(c.Ranges) == 0 {
		return fmt.Sprintf(format, "<the node's pod range>")
	}
	var out []string
	for _, r := range c.Ranges {
		out = append(out, fmt.Sprintf(format, r))
	}
	return strings.Join(out, "")
}
