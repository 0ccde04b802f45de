// Package reconcile makes the world what objects say that it should be. You write one function, which is called
// with an object whenever it, or anything that depends on it, may have changed:
//
//	mgr, err := reconcile.New(reconcile.Config{Client: c, Name: "database-operator"})
//	err = reconcile.Add(mgr, reconcile.Controller[*Database]{
//		Reconcile: func(ctx context.Context, db *Database) (reconcile.Result, error) { … },
//		Watches:   []reconcile.Watch{reconcile.Owns[*corev1.ConfigMap]()},
//	})
//	err = mgr.Run(ctx)
//
// A [Manager] runs controllers, the informers that they share (package informer) and, if asked to, an election
// (package leader), so that of several processes one works. It speaks to any Kubernetes through its client; to a
// server in the same process it may listen directly, through the server's tables.
//
// Three promises hold by default. A key is worked on by one worker at a time, and comes again after an error, ever
// later (package queue). A key is not worked on before the cache shows what its own last run wrote, so that no
// decision rests on a world from before one's own writes ([Config].Settle bounds the wait). And what a leader's
// controllers write carries the leader's fence, so that a deposed leader can't do harm where the server knows
// fences.
package reconcile
