package library

import (
	"math"

	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/google/cel-go/checker"
)

// Costs knows what the functions of this package and of the string extension cost: at run time, and, with Sizes, at
// most. The figures are part of Kubernetes' API, since they decide which rules a definition may have.
type Costs struct {
	// Sizes estimates sizes of data; nil knows none.
	Sizes checker.CostEstimator
}

const (
	// checkCost lets an expression ask the authorizer twice.
	checkCost = 350000
	// MaxFormatSize is the longest name of a format, and maxFormatRegex the work of the costliest check.
	maxFormatSize  = 64
	maxFormatRegex = 128
	// A selector takes at least two characters for a requirement, which is a struct and a list of values.
	requirementsPerByte = 0.5
	requirementCost     = common.ListCreateBaseCost + common.StructCreateBaseCost
)

// nominal are functions that only pick something out of a value.
var nominal = set("serviceAccount", "path", "group", "resource", "subresource", "namespace", "name", "allowed", "reason",
	"error", "errored", "masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast",
	"isLinkLocalUnicast", "isGlobalUnicast", "format.named", "sign", "asInteger", "isInteger", "asApproximateFloat",
	"isGreaterThan", "isLessThan", "compareTo", "add", "sub", "major", "minor", "patch",
	"getScheme", "getHostname", "getHost", "getPort", "getEscapedPath", "getQuery")

// traversals are functions that read a text so many times, or read and write it.
var traversals = map[string]float64{
	"url": 1, "jsonpatch.escapeKey": 1, "lowerAscii": 1, "upperAscii": 1, "substring": 1, "trim": 1,
	"replace": 2, "split": 2, "cidr": 1, "isIP": 1, "isCIDR": 1, "ip": 1, "ip.isCanonical": 2,
	"quantity": 1, "isQuantity": 1, "semver": 1, "isSemver": 1,
}

// listWalks are functions that look at each element of a list.
var listWalks = set("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf")

func set(names ...string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, n := range names {
		s[n] = true
	}
	return s
}

// CallCost is the cost of a call that was made; nil leaves it to CEL.
func (c *Costs) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	switch {
	case function == "check":
		return cost(checkCost)
	case nominal[function], overload == "cidr_ip":
		return cost(1)
	case listWalks[function]:
		if len(args) == 0 {
			return cost(0)
		}
		return cost(walk(args[0]))
	case traversals[function] > 0 && len(args) > 0:
		return cost(reading(sizeOf(args[0]), traversals[function]))
	}
	return callCost(function, overload, args, result)
}

// callCost is CallCost of the functions that are like no other.
func callCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	if function == "join" && len(args) > 0 {
		return cost(reading(sizeOf(result), 2))
	}
	if len(args) < 2 {
		return nil
	}
	switch function {
	case "fieldSelector", "labelSelector":
		n := sizeOf(args[1])
		return cost(selectorCost(checker.SizeEstimate{Min: n, Max: n}).Max)
	case "find", "findAll":
		return cost(regexCost(sizeOf(args[0]), sizeOf(args[1])))
	case "validate":
		if f, ok := args[0].Value().(*Format); ok {
			return cost(regexCost(sizeOf(args[1]), uint64(f.regexSize)))
		}
	case "containsIP", "containsCIDR":
		return cost(containsCost(function, overload, sizeOf(args[0]), sizeOf(args[1])))
	case "_==_":
		switch args[0].(type) {
		case Quantity, IP, CIDR, *Format, URL, Semver, authorizer, pathCheck, groupCheck, resourceCheck, decision:
			return cost(1)
		}
	}
	return nil
}

// containsCost compares two lists of bytes; a text is parsed first, and a range is masked first.
func containsCost(function, overload string, own, other uint64) uint64 {
	n := reading(own, 2)
	if function == "containsCIDR" {
		n += reading(own, 1) + 1
	}
	if overload == "cidr_contains_ip_string" || overload == "cidr_contains_cidr_string" {
		n += reading(other, 1)
	}
	return n
}

func cost(n uint64) *uint64 { return &n }

func reading(size uint64, times float64) uint64 {
	return uint64(math.Ceil(float64(size) * times * common.StringTraversalCostFactor))
}

// regexCost takes a pattern for an automaton of a quarter of its length. One is added, as the empty text isn't free.
func regexCost(text, pattern uint64) uint64 {
	return uint64(math.Ceil((1+float64(text))*common.StringTraversalCostFactor)) *
		uint64(math.Ceil(float64(pattern)*common.RegexStringLengthCostFactor))
}

func sizeOf(v ref.Val) uint64 {
	if s, ok := v.(traits.Sizer); ok {
		if n, ok := s.Size().(types.Int); ok {
			return uint64(n)
		}
	}
	return 1
}

// walk is the cost of reading a value to its leaves.
func walk(v ref.Val) uint64 {
	var total uint64
	switch v := v.(type) {
	case types.String:
		return uint64(float64(len(v)) * common.StringTraversalCostFactor)
	case types.Bytes:
		return uint64(float64(len(v)) * common.StringTraversalCostFactor)
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			total += walk(it.Next())
		}
	case traits.Mapper:
		for it := v.Iterator(); it.HasNext() == types.True; {
			k := it.Next()
			total += walk(k) + walk(v.Get(k))
		}
	default:
		return 1
	}
	return total
}
