package cel

const (
	// PerCallLimit is what one evaluation of an expression may cost at run time, about a tenth of a second.
	PerCallLimit = 1_000_000
	// Budget is what all rules for one object, or all expressions of one policy binding, may cost together.
	Budget = 10_000_000
	// MatchConditionBudget is what the match conditions of one webhook or binding may cost together.
	MatchConditionBudget = 2_500_000
	// MaxMessage is the longest message that a messageExpression may make, in bytes.
	MaxMessage = 5 << 10

	// ruleEstimateLimit and schemaEstimateLimit are what a rule, and all rules of a schema, may cost by estimate.
	ruleEstimateLimit   = 10_000_000
	schemaEstimateLimit = 100_000_000
	// checkFrequency is after how many turns of a comprehension the context is looked at.
	checkFrequency = 100
	// maxRequest is the size of a request in bytes on which estimates rest.
	maxRequest = 3 << 20
	// maxName is the length of metadata.name.
	maxName = 253
)
