package proxy

import (
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// tables lists what the namespace has.
func (l *lab) tables() (names []string) {
	l.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(l.host.file.Fd())))
	require.NoError(l.t, err)
	all, err := c.ListTables()
	require.NoError(l.t, err)
	for _, table := range all {
		names = append(names, table.Name)
	}
	slices.Sort(names)
	return names
}

// same fails unless the kernel has exactly what the rule set says.
func (l *lab) same() {
	l.t.Helper()
	sound, err := l.e.host.kernel.sound(l.e.rules.all)
	require.NoError(l.t, err)
	require.True(l.t, sound)
	was, ok, err := l.e.host.kernel.read()
	require.NoError(l.t, err)
	require.True(l.t, ok)
	d := l.e.rules.from(was)
	require.Zero(l.t, d.len(), "%+v", d)
}

// TestRestart stops with one state and starts with another, while a client connects all the time.
func TestRestart(t *testing.T) {
	l, _, ips := trio(t)
	client, _ := l.pod()
	l.set(service(), at("here", ips...)...)
	l.set(service(func(s *corev1.Service) {
		s.Name, s.Spec.ClusterIP, s.Spec.ClusterIPs = "old", "10.96.0.99", nil
		s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort = 0, 0
	}), at("here", ips...)...)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := exchange(client); err != nil {
				ended <- err
				return
			}
		}
	}()
	before := l.e.rules.all.endpoints
	for range 10 {
		l.e = l.engine()
		l.set(service(), at("here", ips...)...)
		l.same()
	}
	for s, ep := range l.e.rules.all.endpoints {
		require.Equal(t, before[s], ep, "what was right was left as it was")
	}
	close(stop)
	require.NoError(t, <-ended)
	_, err := client.dial("tcp", "10.96.0.99:80", long)
	require.Error(t, err, "a service that went while nobody looked")
}

func TestRepair(t *testing.T) {
	l, pods, ips := trio(t)
	sticky := service(func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
	c, err := nftables.New(nftables.WithNetNSFd(int(l.host.file.Fd())))
	require.NoError(t, err)
	table := &nftables.Table{Name: l.config().Table, Family: nftables.TableFamilyIPv4}
	for name, damage := range map[string]func(){
		"table deleted": func() { c.DelTable(table) },
		"rules flushed": func() { c.FlushTable(table) },
		"map flushed":   func() { c.FlushSet(&nftables.Set{Name: setServices, Table: table}) },
		"chain flushed": func() { c.FlushChain(&nftables.Chain{Name: "to-in-3-stay10800", Table: table}) },
		"foreign chain": func() { c.AddChain(&nftables.Chain{Name: "foreign", Table: table}) },
		"endpoint added": func() {
			require.NoError(t, c.SetAddElements(l.e.host.kernel.sets()[setID(setHairpin)-1], []nftables.SetElement{{Key: make([]byte, 8)}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l.set(sticky, at("here", ips...)...)
			l.same()
			damage()
			require.NoError(t, c.Flush())
			l.e.doubt = true // as every resync does
			_, err := l.e.apply(nil)
			require.NoError(t, err)
			l.same()
			pods[0].ask("tcp", vip+":80")
		})
	}
	c.DelTable(table)
	require.NoError(t, c.Flush())
	_, err = l.e.apply(map[string][]ServicePort{"default/web": Compile(l.node, sticky, sliceOf(sticky, at("here", ips[0])...))})
	require.Error(t, err, "a change is lost with the table")
	_, err = l.e.apply(nil)
	require.NoError(t, err, "and the next try makes up for it")
	l.same()
}

func TestRemoveLeavesNothing(t *testing.T) {
	l, _, ips := trio(t)
	c, err := nftables.New(nftables.WithNetNSFd(int(l.host.file.Fd())))
	require.NoError(t, err)
	c.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyIPv4})
	require.NoError(t, c.Flush())
	routes, err := l.host.link.RouteList(nil, unix.AF_INET)
	require.NoError(t, err)
	l.set(service(), at("here", ips...)...)
	require.Equal(t, []string{"bedplate-services", "foreign"}, l.tables())
	p, err := New(withInformers(t, l.config()))
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, p.Remove(t.Context()))
		require.Equal(t, []string{"foreign"}, l.tables())
		left, err := l.host.link.RouteList(nil, unix.AF_INET)
		require.NoError(t, err)
		require.Equal(t, routes, left)
	}
}

// TestKernelFollows makes random changes and compares the kernel with the rule set after each.
func TestKernelFollows(t *testing.T) {
	l := newLab(t)
	l.e.cut = func(flows) {} // there are none
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			_, err := l.e.apply(drawChanges(t))
			require.NoError(t, err)
			if rapid.IntRange(0, 9).Draw(t, "resync") == 0 {
				l.e.doubt = true
			}
		}
		l.same()
	})
	require.NotEmpty(t, l.tables())
}
