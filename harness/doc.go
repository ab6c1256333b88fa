// Package harness tells stories about Kafka consumers and judges what they promise: nothing lost, nothing in the wrong
// order, no offset committed before the work is done, whatever crashes.
//
// A story runs against an in-memory Kafka in virtual time: a session timeout of 45 seconds or a back-off of an hour takes
// milliseconds, and instants are exact to the nanosecond. The consumer under test is ordinary Go on
// github.com/twmb/franz-go; all it needs to allow is that its client options are passed in.
//
//	func TestMain(m *testing.M) { harness.Main(m) }
//
//	func TestACrashLosesNothing(t *testing.T) {
//		harness.Run(t, func(w *harness.World) {
//			orders, bank := w.Topic("orders", 6), w.Group("bank")
//			orders.Fill(20)
//			start := func(p *harness.Process) (harness.Runner, error) {
//				return New(p.Handler(handle), p.Options()...)
//			}
//
//			w.Start("a", start).CrashBefore(harness.OffsetCommit)
//			w.Until(harness.Gone("a"))
//			w.Start("b", start)
//			w.Until(bank.Drained(orders))
//
//			w.Claim(bank.Handled(orders), bank.CommitSafe(orders))
//		})
//	}
//
// # Parts of a story
//
// A [World] is the stage: it has topics, groups, a clock and a [Journal]. A [Process] is one life of a program: it can be
// stopped, crashed at once or at a [Point], isolated from its network and started again; a [Fault] disturbs what passes
// between it and the cluster. [World.Kafka] disturbs the cluster itself. Every process has its own dialer, handed out by
// [Process.Options], and what passes through it is the journal; [Process.Handler] adds the handler's side. Processes
// reach each other with [Process.Listen] and [Process.Dial].
//
// A [Claim] is a promise: a function that returns nil, or an error in a delivery word such as LOST or STUCK. [World.Claim]
// judges it now; [World.Until] lets time pass until it holds. Claims read the journal, never the program's own fields.
// Write your own the same way.
//
// [Run] tells a story once. [Sweep] tells it again for every point at which a process can crash. [Explore] tells it under
// random schedules of crashes, rebalances and errors, the same ones each time, and makes a failing one small. What they
// find is replayed by a command that the failure prints.
//
// # Running
//
// The tests are plain go test. The build tag synctests, which kgo needs in virtual time, is supplied if a story turns out
// to need it or the program breaks, at the price of a second build: go test -tags synctests is quicker then. A test whose program deadlocks, spins, panics,
// leaks or exits fails with a sentence that says so, and the tests after it still run. Under a debugger no watchdog
// barks; set KATA_DEBUG=1 where it is not noticed. Steps (TestStep01_…) after a red one are skipped unless -all is given.
//
// With KAFKA_BROKERS=host:port,… the same stories run in real time on that cluster, with topics and groups of their own
// that are removed afterwards; KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD, KAFKA_SASL_MECHANISM, KAFKA_TLS and
// KAFKA_TLS_CA_FILE, _CERT_FILE and _KEY_FILE let them in. Transactional ids are made unique by [World.TransactionalID];
// Kafka forgets them by itself. Promises about instants then have some seconds of slack. -report=dir writes the timeline
// of every red story as a page. Stories do not run in parallel.
package harness
