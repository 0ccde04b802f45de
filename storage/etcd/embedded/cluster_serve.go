package embedded

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// serve lets other members in, which the start of a member needs. It is called when etcd has been made.
func (k *secure) serve(m *member) {
	if k == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.renewing = make(chan struct{})
	go func() {
		defer close(k.renewing)
		k.renewLoop(ctx)
	}()
	k.stops = append(k.stops, func() {
		cancel()
		<-k.renewing
	})
	if k.peer == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/", etcdhttp.NewPeerHandler(m.etcd.GetLogger(), m.etcd.Server))
	door := newDoor(k, m.etcd.Server)
	mux.Handle("POST "+joinPath, door)
	mux.Handle(joinPath, http.NotFoundHandler())
	k.serveHTTP(k.peer, membersOnly(mux))
}

// membersOnly keeps those that have an invitation to joining.
func membersOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != joinPath && (r.TLS == nil || wantRole(*r.TLS, roleMember) != nil) {
			http.Error(w, "an invitation is for joining alone", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// serveHTTP serves HTTP/1.1, the only one that etcd's members speak.
func (k *secure) serveHTTP(l net.Listener, h http.Handler) {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	srv := &http.Server{
		Handler: h, Protocols: p, ReadHeaderTimeout: k.s.c.Limits.Handshake, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 1 << 16, ErrorLog: log.New(io.Discard, "", 0), // what clients do wrong
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l) // it ends when it is closed
	}()
	k.stops = append(k.stops, func() {
		_ = srv.Close() // cuts connections; nothing is lost by it
		_ = l.Close()
		<-ended
	})
}

// serveClients lets clients in, once the member is ready.
func (k *secure) serveClients(m *member) {
	if k.client == nil {
		return
	}
	lim := k.s.c.Limits
	g := v3rpc.Server(m.etcd.Server, nil, nil,
		grpc.ConnectionTimeout(lim.Handshake),
		grpc.MaxHeaderListSize(1<<16),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: embed.DefaultGRPCKeepAliveMinTime}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: embed.DefaultGRPCKeepAliveInterval, Timeout: embed.DefaultGRPCKeepAliveTimeout,
		}),
	)
	mux := http.NewServeMux()
	etcdhttp.HandleVersion(mux, m.etcd.Server)
	etcdhttp.HandleMetrics(mux)
	etcdhttp.HandleHealth(m.etcd.GetLogger(), mux, m.etcd.Server)
	rpc, plain := split(k.client)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = g.Serve(rpc) // it ends when it is stopped
	}()
	k.stops = append(k.stops, func() {
		g.Stop()
		<-ended
	})
	k.serveHTTP(plain, mux)
}

// stopClients cuts clients off: a watch never ends by itself.
func (k *secure) stopClients() {
	if k != nil && k.client != nil {
		_ = k.client.Close() // it closes all that there is
	}
}

// stop closes all listeners and connections, and ends what was started.
func (k *secure) stop() {
	if k == nil {
		return
	}
	k.stopClients()
	if k.peer != nil {
		_ = k.peer.Close()
	}
	for _, stop := range k.stops {
		stop()
	}
	k.stops = nil
}
