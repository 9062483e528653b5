// Package harness gives end-to-end tests what they need: a private
// installation of the server with pg_netstat in it, servers in network
// namespaces, clients across a veth pair, and packet counters of the kernel's
// own firewall as the truth to compare with.
//
//	func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		link := harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))
//		s := harness.NewServer(t, harness.Options{Host: link.Server.Host})
//		truth := harness.NewTruth(t, link, s.Port)
//		s.Await(t, "ebpf")
//		link.Client.Host.Pgbench(t, s.At(link.Server.V4), "-S", "-t", "100")
//		want := truth.Quiet(t)
//		s.CaughtUp(t)
//		if got := s.Totals(t); got != want { … }
//	}
//
// Everything ends with the test that made it, also when it fails. What a test
// program that was killed has left is removed by the next one: it is found by the
// prefix of its names, which hold the id of the process that made it.
//
// All of it needs root: without, NewHost skips the test and says so. A
// harness function that cannot do its work ends the test.
package harness
