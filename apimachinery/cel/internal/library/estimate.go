package library

import (
	"math"

	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
)

// EstimateSize asks Sizes.
func (c *Costs) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	if c.Sizes == nil {
		return nil
	}
	return c.Sizes.EstimateSize(node)
}

// EstimateCallCost bounds the cost of a call and the size of its result; nil leaves it to CEL.
func (c *Costs) EstimateCallCost(function, overload string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	switch {
	case function == "check":
		return fixed(checkCost)
	case nominal[function], overload == "cidr_ip":
		return fixed(1)
	}
	switch function {
	case "url", "jsonpatch.escapeKey":
		if len(args) == 1 {
			return c.reads(args[0], function, true)
		}
	case "cidr", "isIP", "isCIDR", "ip", "ip.isCanonical", "quantity", "isQuantity", "semver", "isSemver":
		if len(args) > 0 {
			return c.reads(args[0], function, false)
		}
	case "fieldSelector", "labelSelector":
		if len(args) == 1 {
			return &checker.CallEstimate{CostEstimate: selectorCost(c.size(args[0]))}
		}
	case "validate":
		if len(args) > 0 {
			read := c.size(args[0]).MultiplyByCostFactor(common.StringTraversalCostFactor)
			return &checker.CallEstimate{CostEstimate: read.MultiplyByCostFactor(maxFormatRegex * common.RegexStringLengthCostFactor)}
		}
	case "containsIP", "containsCIDR":
		if len(args) > 0 {
			return c.contains(function, overload, args[0])
		}
	case "_==_":
		return equality(args)
	}
	if target != nil {
		return c.estimateMember(function, *target, args)
	}
	return nil
}

// estimateMember is EstimateCallCost of methods of lists and strings.
func (c *Costs) estimateMember(function string, target checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	switch {
	case listWalks[function]:
		return c.walks(target)
	case function == "lowerAscii", function == "upperAscii", function == "substring", function == "trim":
		return c.reads(target, function, true)
	case function == "replace" && len(args) >= 2:
		size := replaced(c.size(target), c.size(args[0]), c.size(args[1]))
		e := c.reads(target, function, false)
		e.ResultSize = &size
		return e
	case function == "split":
		e := c.reads(target, function, false)
		e.ResultSize = &checker.SizeEstimate{Max: pieces(c.size(target).Max, args)}
		return e
	case function == "join":
		return c.joins(target, args)
	case (function == "find" || function == "findAll") && len(args) > 0:
		text := c.size(target)
		read := text.Add(checker.SizeEstimate{Min: 1, Max: 1}).MultiplyByCostFactor(common.StringTraversalCostFactor)
		pattern := c.size(args[0]).MultiplyByCostFactor(common.RegexStringLengthCostFactor)
		return &checker.CallEstimate{CostEstimate: read.Multiply(pattern), ResultSize: &checker.SizeEstimate{Max: text.Max}}
	}
	return nil
}

func fixed(n uint64) *checker.CallEstimate {
	return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Min: n, Max: n}}
}

// reads is the cost of a traversal; same says that the result is as long as what is read.
func (c *Costs) reads(node checker.AstNode, function string, same bool) *checker.CallEstimate {
	size := c.size(node)
	e := &checker.CallEstimate{CostEstimate: size.MultiplyByCostFactor(traversals[function] * common.StringTraversalCostFactor)}
	if same {
		e.ResultSize = &size
	}
	return e
}

// walks is the cost of one comparison for each element; texts are read for it.
func (c *Costs) walks(list checker.AstNode) *checker.CallEstimate {
	each := checker.CostEstimate{Min: 1, Max: 1}
	elem := elementOf(list)
	switch {
	case elem == nil: // indexOf and lastIndexOf are methods of strings, too
		return &checker.CallEstimate{CostEstimate: c.size(list).MultiplyByCostFactor(common.StringTraversalCostFactor)}
	case elem.Type().Kind() == types.StringKind || elem.Type().Kind() == types.BytesKind:
		each = each.Add(c.size(elem).MultiplyByCostFactor(common.StringTraversalCostFactor))
	}
	return &checker.CallEstimate{CostEstimate: c.size(list).MultiplyByCost(each)}
}

func (c *Costs) joins(list checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	var size checker.SizeEstimate
	count := c.size(list)
	if elem := elementOf(list); elem != nil {
		size = count.Multiply(c.size(elem))
	}
	if len(args) > 0 {
		between := checker.SizeEstimate{Min: less(count.Min), Max: less(count.Max)}
		size = size.Add(c.size(args[0]).Multiply(between))
	}
	return &checker.CallEstimate{CostEstimate: size.MultiplyByCostFactor(common.StringTraversalCostFactor), ResultSize: &size}
}

func less(n uint64) uint64 { return n - min(n, 1) }

// pieces bounds into how many parts a text of n bytes is split.
func pieces(n uint64, args []checker.AstNode) uint64 {
	if len(args) < 2 {
		return n
	}
	if v := args[1].Expr().AsLiteral(); v != nil {
		if limit, ok := v.Value().(int64); ok {
			return uint64(limit)
		}
	}
	return n
}

// replaced bounds the size of a text in which all of old are replaced by with. An empty old is between all characters.
func replaced(text, old, with checker.SizeEstimate) checker.SizeEstimate {
	var count, kept checker.SizeEstimate
	switch {
	case old.Min == 0:
		count.Max, kept.Max = more(text.Max), text.Max
	case with.Max <= old.Min:
		kept.Max = text.Max
	default:
		count.Max = uint64(math.Ceil(float64(text.Max) / float64(old.Min)))
	}
	switch {
	case old.Max == 0:
		count.Min, kept.Min = more(text.Min), text.Min
	case old.Max <= with.Min:
		kept.Min = text.Min
	default:
		count.Min = uint64(math.Ceil(float64(text.Min) / float64(old.Max)))
	}
	return count.Multiply(with).Add(kept)
}

func more(n uint64) uint64 {
	if n == math.MaxUint64 {
		return n
	}
	return n + 1
}

// contains compares addresses of 4 to 16 bytes, as containsCost does.
func (c *Costs) contains(function, overload string, arg checker.AstNode) *checker.CallEstimate {
	size := checker.SizeEstimate{Min: 4, Max: 16}
	e := size.Add(size).MultiplyByCostFactor(common.StringTraversalCostFactor)
	if function == "containsCIDR" {
		e = e.Add(size.MultiplyByCostFactor(common.StringTraversalCostFactor)).Add(checker.CostEstimate{Min: 1, Max: 1})
	}
	if overload == "cidr_contains_ip_string" || overload == "cidr_contains_cidr_string" {
		e = e.Add(c.size(arg).MultiplyByCostFactor(common.StringTraversalCostFactor))
	}
	return &checker.CallEstimate{CostEstimate: e}
}

func equality(args []checker.AstNode) *checker.CallEstimate {
	if len(args) != 2 || args[0].Type().Equal(args[1].Type()) != types.True {
		return nil
	}
	t := args[0].Type()
	switch t.TypeName() {
	case IPType.TypeName(), CIDRType.TypeName(), QuantityType.TypeName(), SemverType.TypeName(), AuthorizerType.TypeName(),
		PathCheckType.TypeName(), GroupCheckType.TypeName(), ResourceCheckType.TypeName(), DecisionType.TypeName():
		return fixed(1)
	case FormatType.TypeName():
		return upTo(maxFormatSize)
	case URLType.TypeName():
		if size := args[1].ComputedSize(); size != nil {
			return upTo(size.Max)
		}
		return upTo(1)
	}
	return nil
}

func upTo(n uint64) *checker.CallEstimate {
	e := checker.CostEstimate{Min: 1, Max: n}
	return &checker.CallEstimate{CostEstimate: e.MultiplyByCostFactor(common.StringTraversalCostFactor)}
}

func selectorCost(length checker.SizeEstimate) checker.CostEstimate {
	base := checker.CostEstimate{Min: common.ListCreateBaseCost, Max: common.ListCreateBaseCost}
	parse := length.MultiplyByCostFactor(common.StringTraversalCostFactor)
	return base.Add(parse).Add(length.MultiplyByCostFactor(requirementsPerByte).MultiplyByCostFactor(requirementCost))
}

// size is what is known of a node's size, else anything.
func (c *Costs) size(node checker.AstNode) checker.SizeEstimate {
	if s := node.ComputedSize(); s != nil {
		return *s
	}
	if s := c.EstimateSize(node); s != nil {
		return *s
	}
	return checker.SizeEstimate{Max: math.MaxUint64}
}

// elementOf is the node of a list's elements, nil if its type doesn't tell.
func elementOf(list checker.AstNode) checker.AstNode {
	params := list.Type().Parameters()
	if len(params) == 0 {
		return nil
	}
	e := &elementNode{typ: params[0]}
	if at := list.Path(); at != nil {
		e.path = append(append(make([]string, 0, len(at)+1), at...), "@items")
	}
	return e
}

type elementNode struct {
	path []string
	typ  *types.Type
}

func (e *elementNode) Path() []string                      { return e.path }
func (e *elementNode) Type() *types.Type                   { return e.typ }
func (e *elementNode) Expr() ast.Expr                      { return nil }
func (e *elementNode) ComputedSize() *checker.SizeEstimate { return nil }
