package library

import (
	"fmt"
	"net/netip"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// IPType is the type of [IP], CIDRType that of [CIDR].
var (
	IPType   = cel.OpaqueType("net.IP")
	CIDRType = cel.OpaqueType("net.CIDR")
)

// IP is an address as a value of CEL.
type IP struct{ netip.Addr }

// ConvertToNative gives the netip.Addr or its text.
func (i IP) ConvertToNative(t reflect.Type) (any, error) {
	return toNative(t, "IP", i.Addr, i.String())
}

// ConvertToType gives the value, its text or its type.
func (i IP) ConvertToType(t ref.Type) ref.Val {
	if t == types.StringType {
		return types.String(i.String())
	}
	return toType(i, IPType, t)
}

// Equal compares the addresses.
func (i IP) Equal(other ref.Val) ref.Val {
	o, ok := other.(IP)
	if !ok {
		return types.ValOrErr(other, "no such overload")
	}
	return types.Bool(i.Addr == o.Addr)
}

// Type is [IPType].
func (i IP) Type() ref.Type { return IPType }

// Value is the netip.Addr.
func (i IP) Value() any { return i.Addr }

// Size is the length in bytes, for costs.
func (i IP) Size() ref.Val { return types.Int((i.BitLen() + 7) / 8) }

func ips() *lib {
	is := func(name, id string, f func(netip.Addr) bool) cel.EnvOption {
		return cel.Function(name, member(id, IPType, cel.BoolType, native(func(a netip.Addr) ref.Val { return types.Bool(f(a)) })))
	}
	return &lib{name: "kubernetes.net.ip", options: []cel.EnvOption{
		cel.Types(IPType),
		cel.Function("ip", global("string_to_ip", cel.StringType, IPType, native(toIP))),
		cel.Function("isIP", global("is_ip", cel.StringType, cel.BoolType, native(func(s string) ref.Val {
			_, err := parseIP(s)
			return types.Bool(err == nil)
		}))),
		cel.Function("ip.isCanonical", global("ip_is_canonical", cel.StringType, cel.BoolType, native(isCanonical))),
		cel.Function("family", member("ip_family", IPType, cel.IntType, native(family))),
		cel.Function("string", global("ip_to_string", IPType, cel.StringType, native(func(a netip.Addr) ref.Val {
			return types.String(a.String())
		}))),
		is("isUnspecified", "ip_is_unspecified", netip.Addr.IsUnspecified),
		is("isLoopback", "ip_is_loopback", netip.Addr.IsLoopback),
		is("isLinkLocalMulticast", "ip_is_link_local_multicast", netip.Addr.IsLinkLocalMulticast),
		is("isLinkLocalUnicast", "ip_is_link_local_unicast", netip.Addr.IsLinkLocalUnicast),
		is("isGlobalUnicast", "ip_is_global_unicast", netip.Addr.IsGlobalUnicast),
	}}
}

// parseIP takes what Kubernetes calls an address: neither with a zone nor IPv4 in IPv6.
func parseIP(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, fmt.Errorf("IP Address %q parse error during conversion from string: %v", s, err)
	case a.Zone() != "":
		return a, fmt.Errorf("IP address %q with zone value is not allowed", s)
	case a.Is4In6():
		return a, fmt.Errorf("IPv4-mapped IPv6 address %q is not allowed", s)
	}
	return a, nil
}

func toIP(s string) ref.Val {
	a, err := parseIP(s)
	if err != nil {
		return types.NewErr("%v", err)
	}
	return IP{a}
}

func isCanonical(s string) ref.Val {
	a, err := parseIP(s)
	if err != nil {
		return types.NewErr("%v", err)
	}
	return types.Bool(a.String() == s)
}

func family(a netip.Addr) ref.Val {
	switch {
	case a.Is4():
		return types.Int(4)
	case a.Is6():
		return types.Int(6)
	}
	return types.NewErr("IP address %q is not an IPv4 or IPv6 address", a)
}
