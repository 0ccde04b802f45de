// Package cel is the Common Expression Language as Kubernetes v1.37 has it: the rules in schemas of custom resources
// (x-kubernetes-validations), match conditions of webhooks, validating and mutating admission policies, and selectors
// of devices. It is the only part that knows cel-go, and does no I/O of its own: expressions ask the authorizer that
// they are given.
//
// An [Environment] is the language; a server has one, and it is set up at the first expression.
//
//   - [Environment.CheckSchema] says what is wrong with the rules of a schema, what they cost by estimate included, and
//     [Environment.Rules] judges objects by them. Objects are wrapped, never copied; what didn't change isn't refused.
//   - [Environment.Compile] makes an [Expression] of any other kind, and [Environment.Check] only says whether one
//     could be made.
//
// What an expression may cost is bounded three times: by estimate when it is written, at each run, and by a budget for
// all that is run for one request.
package cel
