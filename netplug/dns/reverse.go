package dns

import (
	"net/netip"
	"strconv"
	"strings"

	miekg "github.com/miekg/dns"
)

// reversed is a name below in-addr.arpa or ip6.arpa.
type reversed struct {
	addr  netip.Addr // the bits that the name gives; the rest is zero
	bits  int
	valid bool // every label is one of an address
}

// exact says whether the name is that of one address.
func (r reversed) exact() bool { return r.valid && r.bits == r.addr.BitLen() }

// step is the bits of a label.
func (r reversed) step() int {
	if r.addr.Is4() {
		return 8
	}
	return 4
}

// parseReverse reads a name in lower case, as far as it is one of an address.
func parseReverse(name string) (reversed, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		return parseLabels(rest, make([]byte, 4), 8), true
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa."); ok {
		return parseLabels(rest, make([]byte, 16), 4), true
	}
	return reversed{}, false
}

func parseLabels(text string, raw []byte, step int) (r reversed) {
	labels := miekg.SplitDomainName(text + ".")
	r.valid = true
	for i := len(labels) - 1; i >= 0 && r.valid; i-- {
		v, ok := labelValue(labels[i], step)
		if r.valid = ok && r.bits < len(raw)*8; r.valid {
			raw[r.bits/8] |= v << (8 - step - r.bits%8)
			r.bits += step
		}
	}
	r.addr, _ = netip.AddrFromSlice(raw)
	return r
}

func labelValue(label string, step int) (byte, bool) {
	base := 10
	if step == 4 {
		base = 16
		if len(label) != 1 {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(label, base, step)
	if err != nil || len(label) > 1 && label[0] == '0' {
		return 0, false // a sign is refused by ParseUint
	}
	return byte(v), true
}

// zone is the name of the first bits of the address.
func (r reversed) zone(bits int) string {
	raw, step := r.addr.AsSlice(), r.step()
	var b strings.Builder
	for at := bits - step; at >= 0; at -= step {
		v := raw[at/8] >> (8 - step - at%8) & (1<<step - 1)
		if step == 4 {
			b.WriteString(strconv.FormatUint(uint64(v), 16))
		} else {
			b.WriteString(strconv.Itoa(int(v)))
		}
		b.WriteByte('.')
	}
	if step == 4 {
		return b.String() + "ip6.arpa."
	}
	return b.String() + "in-addr.arpa."
}

// zoneOf is the zone of the cluster's ranges that a name is in. Zones are cut where labels end, at or below the
// end of a range's prefix: 10.96.0.0/12 is sixteen zones of two labels.
func (x *Index) zoneOf(r reversed) (zone string, ok bool) {
	for _, p := range x.c.Ranges {
		if p.Addr().BitLen() != r.addr.BitLen() {
			continue
		}
		cut := (p.Bits() + r.step() - 1) / r.step() * r.step()
		if r.bits >= cut && p.Contains(r.addr) {
			return r.zone(cut), true
		}
	}
	return "", false
}
