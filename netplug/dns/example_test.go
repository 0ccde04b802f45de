package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	miekg "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/netplug/dns"
)

// An index answers questions from what it is told, without an API and without sockets.
func ExampleIndex() {
	x, err := dns.NewIndex(dns.IndexConfig{Domain: "cluster.local"})
	if err != nil {
		fmt.Println(err)
		return
	}
	x.SetService(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.20", ClusterIPs: []string{"10.96.0.20"}},
	})
	a, owned := x.Answer(miekg.Question{Name: "web.default.svc.cluster.local.", Qtype: miekg.TypeA, Qclass: miekg.ClassINET})
	fmt.Println(owned, a.Answer[0])
	_, owned = x.Answer(miekg.Question{Name: "example.com.", Qtype: miekg.TypeA, Qclass: miekg.ClassINET})
	fmt.Println(owned)
	// Output:
	// true web.default.svc.cluster.local.	5	IN	A	10.96.0.20
	// false
}

// A server follows an API, any Kubernetes, and serves on the sockets that it is given.
func ExampleServer() {
	t := clienttest.NoTest()
	defer t.End()
	api := clienttest.Start(t, clienttest.Config{Resources: resources()}).Client // or a client of package kubeconfig

	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := dns.New(dns.Config{
		IndexConfig: dns.IndexConfig{Ranges: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}},
		Client:      api, Packets: []net.PacketConn{socket},
		Upstreams: []netip.AddrPort{}, // nil: those of the host
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()

	r, err := miekg.Exchange(new(miekg.Msg).SetQuestion("dns-version.cluster.local.", miekg.TypeTXT), socket.LocalAddr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Answer[0])
	cancel()
	fmt.Println(<-done)
	// Output:
	// dns-version.cluster.local.	28800	IN	TXT	"1.1.0"
	// <nil>
}
