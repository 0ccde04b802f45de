// Package fairness keeps one client's requests from crowding out another's: priority and fairness as Kubernetes v1.37
// has it, configured by FlowSchemas and PriorityLevelConfigurations.
//
// A request belongs to the first FlowSchema that matches it, by precedence, and so to a priority level and to a flow
// in it (of its user or of its namespace). A level has a share of the server's seats; what it doesn't use, it lends to
// others. Where a level's seats are taken, requests wait: each flow has a few of the level's queues to itself (shuffle
// sharding), and the queues are served evenly by a virtual clock. Costly requests take several seats. Whoever finds
// their queue full, or waits for too long, is asked to come back later.
//
// The parts that decide are functions of their inputs and of a time that is handed to them: match.go, deal.go,
// share.go, queues.go, demand.go, retry.go. [Fairness] drives them: it has the clock, the lock of each level and those
// who wait. A request that need not wait starts no goroutine and no timer.
package fairness
