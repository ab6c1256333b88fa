// Package supervise runs the tests of a package so that whatever the program under test does to its process, every
// test gets a verdict.
//
// A call of os.Exit, a panic in some goroutine, a loop that eats all memory: each ends a test process, and with it
// the tests that had not run yet. So [Main], called from TestMain, starts the test binary once more as a child and
// looks after it: when the child ends before its time, the test that was running is reported as failed with a sentence
// that says how, and another child runs the tests that are left.
//
// It also sees to the tag synctests, without which kgo's mutexes can hold a bubble's virtual time. A program that lacks it
// runs all tests once as it is, on trial: nothing is printed before the end. If all come to an end, and most do, that is
// the run. If one stands still, or the process breaks, or the trial takes longer than building the same program with
// the tag, nothing of it counts, and the run is that program's.
//
// Usage, by the harness:
//
//	func Main(m *testing.M) { os.Exit(supervise.Main(m.Run)) }
//
//	func Run(t *testing.T, …) {
//		supervise.Begin(t.Name())
//		t.Cleanup(func() { supervise.End(t.Name(), t.Failed()) })
//		stop := supervise.Watch(limit, supervise.Learner(), func(d stacks.Diagnosis) {
//			supervise.GiveUp(t.Name(), "BROKEN", d.Sentence) // does not return in a child
//			… otherwise fail the test and abandon its bubble
//		})
//		defer stop()
//		synctest.Test(…)
//	}
//
// Main steps aside, and the tests run in its own process, for -list, -bench and -fuzz, and under a debugger.
package supervise
