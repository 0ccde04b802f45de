package library

import (
	"fmt"
	"net/netip"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// CIDR is a range of addresses as a value of CEL.
type CIDR struct{ netip.Prefix }

// ConvertToNative gives the netip.Prefix or its text.
func (c CIDR) ConvertToNative(t reflect.Type) (any, error) {
	return toNative(t, "CIDR", c.Prefix, c.String())
}

// ConvertToType gives the value, its text or its type.
func (c CIDR) ConvertToType(t ref.Type) ref.Val {
	if t == types.StringType {
		return types.String(c.String())
	}
	return toType(c, CIDRType, t)
}

// Equal compares address and length.
func (c CIDR) Equal(other ref.Val) ref.Val {
	o, ok := other.(CIDR)
	if !ok {
		return types.ValOrErr(other, "no such overload")
	}
	return types.Bool(c.Prefix == o.Prefix)
}

// Type is [CIDRType].
func (c CIDR) Type() ref.Type { return CIDRType }

// Value is the netip.Prefix.
func (c CIDR) Value() any { return c.Prefix }

// Size is the prefix in bytes, for costs.
func (c CIDR) Size() ref.Val { return types.Int((c.Bits() + 7) / 8) }

func cidrs() *lib {
	return &lib{name: "kubernetes.net.cidr", options: []cel.EnvOption{
		cel.Types(CIDRType),
		cel.Function("cidr", global("string_to_cidr", cel.StringType, CIDRType, native(toCIDR))),
		cel.Function("isCIDR", global("is_cidr", cel.StringType, cel.BoolType, native(func(s string) ref.Val {
			_, err := parseCIDR(s)
			return types.Bool(err == nil)
		}))),
		cel.Function("containsIP",
			member2("cidr_contains_ip_string", CIDRType, cel.StringType, cel.BoolType, func(v, text ref.Val) ref.Val {
				ip := native(toIP)(text)
				if types.IsError(ip) { // Kubernetes tells no more
					return types.NoSuchOverloadErr()
				}
				return containsIP(v, ip)
			}),
			member2("cidr_contains_ip_ip", CIDRType, IPType, cel.BoolType, containsIP)),
		cel.Function("containsCIDR",
			member2("cidr_contains_cidr_string", CIDRType, cel.StringType, cel.BoolType, func(v, text ref.Val) ref.Val {
				return containsCIDR(v, native(toCIDR)(text))
			}),
			member2("cidr_contains_cidr", CIDRType, CIDRType, cel.BoolType, containsCIDR)),
		cel.Function("ip", member("cidr_ip", CIDRType, IPType, native(func(p netip.Prefix) ref.Val { return IP{p.Addr()} }))),
		cel.Function("prefixLength", member("cidr_prefix_length", CIDRType, cel.IntType, native(func(p netip.Prefix) ref.Val {
			return types.Int(p.Bits())
		}))),
		cel.Function("masked", member("cidr_masked", CIDRType, CIDRType, native(func(p netip.Prefix) ref.Val {
			return CIDR{p.Masked()}
		}))),
		cel.Function("string", global("cidr_to_string", CIDRType, cel.StringType, native(func(p netip.Prefix) ref.Val {
			return types.String(p.String())
		}))),
	}}
}

func containsIP(v, w ref.Val) ref.Val {
	return native2(func(p netip.Prefix, a netip.Addr) ref.Val { return types.Bool(p.Contains(a)) })(v, w)
}

func containsCIDR(v, w ref.Val) ref.Val {
	return native2(func(p, q netip.Prefix) ref.Val { return types.Bool(p.Overlaps(q) && p.Bits() <= q.Bits()) })(v, w)
}

func parseCIDR(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("network address parse error during conversion from string: %v", err)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("IPv4-mapped IPv6 address %q is not allowed", s)
	}
	return p, nil
}

func toCIDR(s string) ref.Val {
	p, err := parseCIDR(s)
	if err != nil {
		return types.NewErr("network address parse error during conversion from string: %v", err)
	}
	return CIDR{p}
}
