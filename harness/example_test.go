package harness_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Consumer is the program under test: ordinary kgo, with its client's options passed in.
type Consumer struct {
	client *kgo.Client
	handle func(context.Context, *kgo.Record) error
}

// New returns a consumer of a group.
func New(group, topic string, handle func(context.Context, *kgo.Record) error, opts ...kgo.Opt) (*Consumer, error) {
	client, err := kgo.NewClient(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	return &Consumer{client, handle}, err
}

// Run handles and then commits until the context ends.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		records := c.client.PollRecords(ctx, 100).Records()
		for _, r := range records {
			if err := c.handle(ctx, r); err != nil {
				return err
			}
		}
		if len(records) > 0 {
			c.client.CommitRecords(ctx, records...)
		}
		c.client.AllowRebalance()
	}
	return nil
}

// process builds the consumer as a process of a story.
func process(g *harness.Group, t *harness.Topic) func(*harness.Process) (harness.Runner, error) {
	return func(p *harness.Process) (harness.Runner, error) {
		handler := p.Handler(func(context.Context, *kgo.Record) error { return nil })
		return New(g.Name, t.Name, handler, p.Options()...)
	}
}

// test stands for a test function of that name.
func test(name string, story func(*testing.T)) { tests = append(tests, namedTest{name, story}) }

type namedTest struct {
	name  string
	story func(*testing.T)
}

var tests []namedTest

// What the examples show is true.
func TestExamples(t *testing.T) {
	tests = nil
	for _, example := range []func(){ExampleRun, ExampleSweep, ExampleExplore, ExampleProcess_Fault, ExampleClaim} {
		example()
	}
	for _, one := range tests {
		t.Run(one.name, one.story)
	}
}

// A process crashes when its work is done and its commit has not left; another one takes over.
func ExampleRun() {
	test("TestACrashLosesNothing", func(t *testing.T) {
		harness.Run(t, func(w *harness.World) {
			orders, bank := w.Topic("orders", 6), w.Group("bank")
			orders.Fill(20)

			w.Start("a", process(bank, orders)).CrashBefore(harness.OffsetCommit)
			w.Until(harness.Gone("a"))
			w.Start("b", process(bank, orders))
			w.Until(bank.Drained(orders))

			w.Claim(bank.Handled(orders), bank.CommitSafe(orders))
		})
	})
}

// The process crashes once at every point of its life at which it can: before and after each of its requests, and before
// and after each call of its handler.
func ExampleSweep() {
	test("TestNoCrashPointLosesAnything", func(t *testing.T) {
		harness.Sweep(t, "a", func(w *harness.World) {
			orders, bank := w.Topic("orders", 1), w.Group("bank")
			orders.Fill(20)

			w.Start("a", process(bank, orders)).RestartAfter(10 * time.Second)
			w.Until(bank.Drained(orders))

			w.Claim(bank.Handled(orders), bank.RedeliveredOnlyUncommitted(orders))
		})
	})
}

// Up to three members join, leave, crash and lose their network at random times within a minute.
func ExampleExplore() {
	test("TestARestlessGroupLosesNothing", func(t *testing.T) {
		plan := harness.Plan{Moves: []harness.MoveKind{harness.Join, harness.Leave, harness.Crash, harness.Isolate}}
		harness.Explore(t, plan, func(w *harness.World, s *harness.Schedule) {
			orders, bank := w.Topic("orders", 6), w.Group("bank")
			orders.Fill(20)

			s.Play(bank, []*harness.Topic{orders}, func(name string) *harness.Process {
				return w.Start(name, process(bank, orders))
			})
			w.Until(bank.Drained(orders))

			w.Claim(bank.Handled(orders), bank.CommitSafe(orders))
		})
	})
}

// A commit's reply is lost, fetches are answered late, and then all of Kafka is away for a while.
func ExampleProcess_Fault() {
	test("TestTheGroupGetsOverALostReply", func(t *testing.T) {
		harness.Run(t, func(w *harness.World) {
			orders, bank := w.Topic("orders", 1), w.Group("bank")
			a := w.Start("a", process(bank, orders)).Fault(
				harness.LoseReply(harness.OffsetCommit),
				harness.Delay(harness.Fetch, 5*time.Second).Times(3),
			)
			orders.Fill(10)
			w.Until(bank.Drained(orders))

			w.Kafka().Down()
			w.Sleep(time.Minute)
			w.Kafka().Up()
			orders.Fill(10)
			w.Until(bank.Drained(orders))

			w.Claim(bank.Handled(orders), bank.Member(a))
		})
	})
}

// A claim of one's own reads the journal and speaks a delivery word.
func ExampleClaim() {
	// promptly claims that no record waited longer than limit between its production and its first handling.
	promptly := func(limit time.Duration) harness.Claim {
		return func(w *harness.World) error {
			for _, produced := range w.Journal().Events(harness.Of(harness.Produced)) {
				handled := w.Journal().Events(harness.Of(harness.Handled), harness.Keyed(produced.Key))
				if len(handled) > 0 && handled[0].At-produced.At > limit {
					return harness.Broke[harness.Mistimed]("whoever waits for it has given up by then",
						"%s was handled %v after it was produced; it may be %v", produced.Key, handled[0].At-produced.At, limit)
				}
			}
			return nil
		}
	}
	test("TestRecordsAreHandledPromptly", func(t *testing.T) {
		harness.Run(t, func(w *harness.World) {
			orders, bank := w.Topic("orders", 6), w.Group("bank")
			w.Start("a", process(bank, orders))
			orders.Fill(20)
			w.Until(bank.Drained(orders))
			w.Claim(promptly(time.Second))
		})
	})
}

// The delivery word of an error says what kind of promise was broken.
func ExampleWord() {
	err := harness.Broke[harness.Lost]("nobody will ask for it again", "order %d was never handled", 7)
	fmt.Println(harness.Word(err))
	fmt.Println(err)
	fmt.Println(harness.BreachOf(fmt.Errorf("after the crash: %w", err)).Why)
	fmt.Printf("%q\n", harness.Word(context.Canceled))
	// Output:
	// LOST
	// LOST: order 7 was never handled
	// nobody will ask for it again
	// ""
}

// A point is written the way that KATA_POINT reads it, a move the way that KATA_SCHEDULE does.
func ExamplePoint() {
	fmt.Println(harness.Point{When: harness.After, Request: harness.OffsetCommit, Nth: 3})
	fmt.Println(harness.Move{At: 2300 * time.Millisecond, Kind: harness.Crash, Who: 1})
	// Output:
	// after OffsetCommit 3
	// crash m1@2.3s
}
