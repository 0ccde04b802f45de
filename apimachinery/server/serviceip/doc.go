// Package serviceip allocates the addresses and node ports of Services: it is what an API server's
// [server.Config.Allocator] is made of.
//
// An [Allocator] chooses, by what the server's caches show to be free; it keeps nothing of its own. That nobody else
// has the same address is a condition of the Service's own transaction, which also makes the IPAddress object, and
// takes it away when the Service gives it up. So any number of servers over one store never hand out one address
// twice, and a crash at any instruction leaves nothing to repair.
//
// The lower part of each range is left to Services that ask for an address by name (KEP-3070), for as long as the
// upper part has room. ServiceCIDR objects extend the ranges; their families are those of the configured ones.
package serviceip
