package lesson13

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A responder that crashed has replied twice. The first reply is the answer; the second one reaches nobody.
func TestStep10_OfTwoRepliesTheFirstWins(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		price := w.Call("price request", 1, a.asks("book", 0))
		other := w.Call("request for something else", 1, a.asks("pen", 0))
		requests := map[string]*kgo.Record{}
		for _, r := range d.asked(2) {
			requests[string(r.Value)] = r
		}

		twice := []*kgo.Record{replyTo(requests["book-0"], "price of book-0"), replyTo(requests["book-0"], "price of something else"), replyTo(requests["book-0"], "price of something else")}
		d.replies.To(0, twice...)
		w.Sleep(time.Second)
		d.priceOf(requests["pen-0"])

		w.Within(time.Second, harness.All(price.Done(), other.Done()))
		w.Claim(price.Returned(nil), other.Returned(nil), a.nobodyWaits(), a.counted("unawaited_replies=2 replied=2"))
	})
}

// Who has gone is not waited for: the call returns at once, and what it left behind is nothing.
func TestStep11_ACancelledRequestReturnsAtOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(time.Second)
		idle := w.NoMoreGoroutines()
		asked := w.Call("request that is cancelled after 3s", 5, func(ctx context.Context, i int) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			time.AfterFunc(3*time.Second, cancel)
			return a.asks("dodo", time.Minute)(ctx, i)
		})

		w.Within(30*time.Second, asked.Done())
		w.Claim(asked.Returned(context.Canceled), asked.Took(3*time.Second), a.nobodyWaits(), idle)
		d.priceOf(d.asked(5)...)
		w.Sleep(time.Second)

		w.Claim(a.counted("cancelled=5 unawaited_replies=5"))
	})
}

// Requests share batches on their way. One caller's cancellation, or deadline, is no business of the others'.
func TestStep11_ACancelledRequestTakesNoOtherWithIt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(time.Second)
		w.Kafka().Down()
		hasty := w.Call("request that is cancelled after 2s", 1, func(ctx context.Context, i int) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			time.AfterFunc(2*time.Second, cancel)
			return a.asks("pen", time.Minute)(ctx, i)
		})
		w.Sleep(time.Millisecond)
		short := w.Call("request with 3s", 1, a.asks("ink", 3*time.Second))
		w.Sleep(time.Millisecond)
		patient := w.Call("patient request", 3, a.asks("book", time.Minute))

		w.Sleep(5 * time.Second)
		w.Kafka().Up()
		w.Sleep(10 * time.Second)
		d.priceOf(d.requests.Records()...)

		w.Within(2*time.Minute, harness.All(hasty.Done(), short.Done(), patient.Done()))
		w.Claim(hasty.Returned(context.Canceled), hasty.Took(2*time.Second), short.Returned(ErrTimeout), short.Took(3*time.Second), patient.Returned(nil), a.nobodyWaits(),
			a.counted("replied=3 cancelled=1 timeouts=1 not_sent=0"))
	})
}

// What could not be sent will not be answered: why wait for the deadline?
func TestStep12_WhatCannotBeSentFailsAtOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(time.Second)

		large := w.Call("request of 2 MB", 1, func(ctx context.Context, _ int) error {
			_, err := a.Ask(ctx, Request{Value: make([]byte, 2<<20), Timeout: time.Minute})
			return both(err, ErrNotSent, kerr.MessageTooLarge)
		})
		w.Within(2*time.Minute, large.Done())
		w.Claim(large.Returned(nil), large.Within(time.Second), a.nobodyWaits())
		a.Fault(harness.Fail(harness.Produce, kerr.TopicAuthorizationFailed))
		forbidden := w.Call("request that is refused", 1, func(ctx context.Context, i int) error {
			return both(a.asks("book", time.Minute)(ctx, i), ErrNotSent, kerr.TopicAuthorizationFailed)
		})

		w.Within(2*time.Minute, forbidden.Done())
		w.Claim(forbidden.Returned(nil), forbidden.Within(time.Second), a.nobodyWaits(), a.counted("not_sent=2"))
	})
}

// both is nil if err is both of these.
func both(err, kind, cause error) error {
	if unwritten(err) || harness.BreachOf(err) != nil {
		return err
	}
	if !errors.Is(err, kind) || !errors.Is(err, cause) || errors.Is(err, ErrTimeout) {
		return harness.Broke[harness.Misreported]("a timeout says that the work may have been done, and is looked for on the other side", "what happened is %q: %v; the caller was told: %v", kind, cause, err)
	}
	return nil
}

// The other side is quick, and to find out where to listen takes a while: the first reply is heard all the same.
func TestStep13_TheFirstReplyIsNotMissed(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, quote)
		w.Sleep(10 * time.Second)
		a := startShop(w, "shop", c.config())
		a.Fault(harness.Fail(harness.ListOffsets, kerr.LeaderNotAvailable).Times(3))

		prices := w.Call("price request", 3, a.asks("book", 30*time.Second))

		w.Within(time.Minute, prices.Done())
		w.Claim(prices.Returned(nil), a.nobodyWaits())
	})
}

// Yesterday's replies answer nobody who asks today: a start is as quick as the topic is long otherwise.
func TestStep13_OldRepliesAreNotRead(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		for i := range 50 {
			d.replies.To(0, record("", "price of yesterday", HeaderCorrelationID, fmt.Sprint(i)))
		}
		a := startShop(w, "shop", d.config())

		price := w.Call("price request", 1, a.asks("book", 0))
		d.priceOf(d.asked(1)...)

		w.Within(time.Second, price.Done())
		w.Claim(price.Returned(nil), func(*harness.World) error {
			if n := a.Stats().Totals.Received; n != 1 {
				return harness.Broke[harness.Wasteful]("with a million of them, the first caller's deadline passes before its reply is reached", "there is 1 reply for this requester, behind 50 old ones; it has received %d", n)
			}
			return nil
		})
	})
}

// Two instances share a reply partition: each hears everything, and takes what is its own.
func TestStep14_InstancesMayShareAReplyPartition(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a, b := startShop(w, "shop-a", d.config()), startShop(w, "shop-b", d.config())
		ofA := w.Call("request of a", 10, a.asks("book", 0))
		ofB := w.Call("request of b", 10, b.asks("pen", 0))

		d.priceOf(d.asked(20)...)

		w.Within(time.Second, harness.All(ofA.Done(), ofB.Done()))
		w.Sleep(time.Second)
		w.Claim(ofA.Returned(nil), ofB.Returned(nil), a.counted("replied=10 foreign_replies=10 unawaited_replies=0"), b.counted("replied=10 foreign_replies=10 unawaited_replies=0"))
	})
}

// Or each has one of its own, and the other side obeys.
func TestStep14_InstancesMayHaveTheirOwnPartitions(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, quote)
		a := startShop(w, "shop-a", c.config())
		b := startShop(w, "shop-b", c.config(func(cfg *RequesterConfig) { cfg.ReplyPartition = 1 }))

		ofA := w.Call("request of a", 10, a.asks("book", 0))
		ofB := w.Call("request of b", 10, b.asks("pen", 0))

		w.Within(time.Minute, harness.All(ofA.Done(), ofB.Done()))
		w.Claim(ofA.Returned(nil), ofB.Returned(nil), a.counted("foreign_replies=0"), b.counted("foreign_replies=0"))
	})
}

// The work is done and its answer stored; then the responder crashes. The next one sends what is stored.
func TestStep15_ACrashBeforeTheReplyRepeatsTheReplyNotTheWork(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work, store := newCounterpart(w), w.Effects("pricing"), newShelf(w)
		startPricing(w, "a", c.answering(), store, quoteOnce(work)).CrashBefore(harness.Produce)
		c.ask("book")
		w.Until(harness.Gone("a"))

		b := startPricing(w, "b", c.answering(), store, quoteOnce(work))

		w.Until(c.group.Drained(c.requests))
		w.Claim(c.repliedOnce("book"), work.Once("book"), extra("b", b.Stats, "stored_replies=1"))
	})
}

// No is an answer, and finding it out was work: it is stored as well.
func TestStep15_AnErrorIsStoredLikeAnyAnswer(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work, store := newCounterpart(w), w.Effects("pricing"), newShelf(w)
		refuse := func(p *harness.Process, _ context.Context, r *kgo.Record) ([][]byte, error) {
			if err := work.Do(p, string(r.Value), nil); err != nil {
				return nil, err
			}
			return nil, &RemoteError{Code: "unknown_article", Message: "there are no dodos"}
		}
		startPricing(w, "a", c.answering(), store, refuse).CrashBefore(harness.Produce)
		c.ask("dodo")
		w.Until(harness.Gone("a"))

		startPricing(w, "b", c.answering(), store, refuse)

		w.Until(c.group.Drained(c.requests))
		w.Claim(c.refused("dodo", "unknown_article", "there are no dodos"), work.Once("dodo"))
	})
}

// It crashes when the reply is out and the commit is not: a second reply, and no second piece of work.
func TestStep15_ACrashBeforeTheCommitDoesNoWorkTwice(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work, store := newCounterpart(w), w.Effects("pricing"), newShelf(w)
		startPricing(w, "a", c.answering(), store, quoteOnce(work)).CrashBefore(harness.OffsetCommit)
		c.ask("book", "pen")
		w.Until(harness.Gone("a"))

		startPricing(w, "b", c.answering(), store, quoteOnce(work))

		w.Until(c.group.Drained(c.requests))
		w.Claim(c.replied("book", "pen"), work.Once("book", "pen"))
	})
}

// The reply cannot be written for a while, time enough for several commits; then the responder crashes.
func TestStep16_ARequestIsCommittedWhenItsReplyIsDurable(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, store := newCounterpart(w), newShelf(w)
		a := startPricing(w, "a", c.answering(), store, quote)
		c.ask("book")
		w.Until(c.group.Drained(c.requests))
		a.Fault(harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(1000))
		c.ask("pen", "ink")
		w.Sleep(10 * time.Second)
		a.Crash()

		startPricing(w, "b", c.answering(), store, quote)
		w.Until(c.group.Drained(c.requests))

		w.Claim(c.repliedBeforeCommitted(), c.replied("book", "pen", "ink"))
	})
}

// repliedBeforeCommitted claims that no request was committed before its reply, or its dead letter, was written.
//
//go:noinline
func (c *counterpart) repliedBeforeCommitted() harness.Claim {
	return func(w *harness.World) error {
		written := 0
		for _, e := range w.Journal().Events(harness.Of(harness.Produced, harness.Committed)) {
			switch {
			case e.Kind == harness.Produced && (e.Topic == c.replies.Name || e.Topic == c.dead.Name):
				written++
			case e.Kind == harness.Committed && e.Topic == c.requests.Name && e.Offset > int64(written):
				return harness.Shown(harness.Broke[harness.CommittedTooEarly]("a crash now, and nobody ever replies to what is committed",
					"%s committed the requests up to offset %d at %v, when %d of their replies were written", e.Process, e.Offset, e.At, written), e)
			}
		}
		return nil
	}
}

// What Kafka refuses for a while is written when it can be: no reply is given up, and nobody else is asked to do the work.
func TestStep16_AReplyThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work := newCounterpart(w), w.Effects("pricing")
		s := startPricing(w, "pricing", c.answering(), nil, quoteOnce(work))
		w.Sleep(10 * time.Second)
		s.Fault(harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(5), harness.LoseReply(harness.Produce))

		c.ask("book", "pen")

		w.Within(2*time.Minute, c.group.Drained(c.requests))
		w.Claim(c.repliedOnce("book", "pen"), work.Once("book", "pen"), c.repliedBeforeCommitted())
	})
}

// The store is away: the work waits for it rather than being done without a memory; health says so.
func TestStep16_WhileTheStoreIsAwayNoWorkIsLostOrRepeated(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work, store := newCounterpart(w), w.Effects("pricing"), newShelf(w)
		s := startPricing(w, "pricing", c.answering(func(cfg *ResponderConfig) { cfg.StallAfter = 10 * time.Second }), store, func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
			if string(r.Value) == "book" {
				store.is(errors.New("connection refused")) // away when the answer is to be saved
			}
			return quoteOnce(work)(p, ctx, r)
		})

		c.ask("book", "pen")
		w.Sleep(30 * time.Second)
		w.Claim(healthy("pricing", s.Health, true, false, "connection refused"), c.repliedBeforeCommitted())
		store.is(nil)

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(c.repliedOnce("book", "pen"), work.Once("book", "pen"), healthy("pricing", s.Health, true, true, ""))
	})
	harness.Run(t, func(w *harness.World) {
		c, store := newCounterpart(w), newShelf(w)
		s := startPricing(w, "pricing", c.answering(func(cfg *ResponderConfig) { cfg.StallAfter = 10 * time.Second }), store, func(*harness.Process, context.Context, *kgo.Record) ([][]byte, error) {
			store.is(errors.New("connection refused"))
			return nil, &RemoteError{Code: "unknown_article", Message: "there are no dodos"}
		})

		c.ask("dodo")
		w.Sleep(30 * time.Second)
		w.Claim(healthy("pricing", s.Health, true, false, "connection refused"))
		store.is(nil)

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(c.refused("dodo", "unknown_article", ""), healthy("pricing", s.Health, true, true, ""))
	})
}

// Asked to stop, it finishes what is in work, replies, commits and leaves: the next one starts behind it at once.
func TestStep16_AStopRepliesToWhatIsInWork(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, store := newCounterpart(w), newShelf(w)
		a := startPricing(w, "a", c.answering(), store, takes(10*time.Second))
		c.ask("book", "pen", "ink")
		w.Until(a.Busy(1))
		w.Sleep(time.Second)

		a.Stop()
		w.Claim(c.repliedOnce("book"))
		startPricing(w, "b", c.answering(), store, quote)

		w.Within(20*time.Second, c.group.Drained(c.requests))
		w.Claim(c.repliedOnce("book", "pen", "ink"), c.group.HandledOnce(c.requests))
	})
}

// It takes longer than DrainTimeout: then it is cancelled, and nothing is known of it. The next one does it.
func TestStep16_AStopHandsBackWhatItCancels(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, store := newCounterpart(w), newShelf(w)
		a := startPricing(w, "a", c.answering(func(cfg *ResponderConfig) { cfg.DrainTimeout = 5 * time.Second }), store, takes(time.Hour))
		c.ask("book")
		w.Until(a.Busy(1))
		w.Sleep(time.Second)

		a.Stop()
		startPricing(w, "b", c.answering(), store, quote)

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(func(*harness.World) error {
			for _, r := range repliedTo(c.replies, "book") {
				if code, failed := Header(r, HeaderError); failed {
					return harness.Broke[harness.Misreported]("whoever asked is told no by a deployment, and the answer is stored", "the work on book was cancelled by a stop; the caller was told %s", code)
				}
			}
			return nil
		}, c.repliedOnce("book"), c.repliedBeforeCommitted())
	})
}

// CommitInterval is how long progress may stay uncommitted: it is what a crash repeats.
func TestStep16_ProgressIsCommittedWithinTheInterval(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(func(cfg *ResponderConfig) { cfg.CommitInterval = 2 * time.Second }), nil, quote)
		c.ask("book")
		w.Within(time.Minute, c.group.Drained(c.requests))

		c.ask("pen")

		w.Within(3*time.Second, c.group.Drained(c.requests))
		w.Claim(c.repliedOnce("book", "pen"))
	})
}

// What is replied to is progress, however long the next one of its partition takes.
func TestStep16_ProgressIsCommittedWhileTheNextOneIsInWork(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
			if string(r.Value) == "globe" {
				return takes(time.Minute)(p, ctx, r)
			}
			return quote(p, ctx, r)
		})
		w.Sleep(10 * time.Second)
		c.requests.To(0, c.request("book"), c.request("pen"), c.request("globe"))

		w.Within(5*time.Second, c.committed(2))
		w.Within(2*time.Minute, c.group.Drained(c.requests))
		w.Claim(c.repliedOnce("book", "pen", "globe"), c.repliedBeforeCommitted())
	})
}

// committed claims that the requests below an offset are committed.
//
//go:noinline
func (c *counterpart) committed(offset int64) harness.Claim {
	return func(w *harness.World) error {
		reached := int64(0)
		for _, e := range w.Journal().Events(harness.Of(harness.Committed), on(c.requests)) {
			reached = max(reached, e.Offset)
		}
		if reached < offset {
			return harness.Broke[harness.Stuck]("a crash repeats what is not committed, for as long as the slowest request takes",
				"%d requests have their replies and wait for nothing; committed are those below %d", offset, reached)
		}
		return nil
	}
}

// A second instance joins while requests are in work: they are finished first, and nothing is done twice.
func TestStep16_ARebalanceRepeatsNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work, store := newCounterpart(w), w.Effects("pricing"), newShelf(w)
		c.requests.AddPartitions(2)
		slow := func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
			if _, err := takes(3*time.Second)(p, ctx, r); err != nil {
				return nil, err
			}
			return quoteOnce(work)(p, ctx, r)
		}
		a := startPricing(w, "a", c.answering(), store, slow)
		w.Sleep(10 * time.Second)
		var all []string
		for i := range 10 {
			thing := fmt.Sprintf("thing-%d", i)
			all = append(all, thing)
			c.requests.To(int32(i%2), c.request(thing))
		}
		w.Until(harness.Any(a.Busy(1), a.Busy(2))) // one loop for all partitions is as right as one for each
		w.Sleep(time.Second)

		b := startPricing(w, "b", c.answering(), store, slow)
		w.Within(30*time.Second, c.group.Balanced([]*harness.Process{a.Process, b.Process}, c.requests))

		w.Within(5*time.Minute, c.group.Drained(c.requests))
		w.Claim(c.repliedOnce(all...), work.Once(all...), c.group.CommitSafe(c.requests))
	})
}

// Three places, five callers: two are told at once, and a place is free again when a request is over, however it ended.
func TestStep17_TooManyRequestsFailFast(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config(func(c *RequesterConfig) { c.MaxInFlight = 3 }))
		w.Sleep(time.Second)
		first := w.Call("price request", 3, a.asks("book", 5*time.Second))
		d.asked(3)

		more := w.Call("request too many", 2, a.asks("pen", 5*time.Second))
		w.Within(time.Minute, harness.All(first.Done(), more.Done()))
		w.Claim(more.Returned(ErrTooMany), more.Took(0), first.Returned(ErrTimeout), a.counted("rejected=2"))

		again := w.Call("request afterwards", 3, a.asks("ink", 5*time.Second))
		d.priceOf(d.asked(6)[3:]...)
		w.Within(time.Second, again.Done())
		w.Claim(again.Returned(nil), a.nobodyWaits())
	})
}

// Or they wait for their turn. Their deadlines do not wait with them.
func TestStep17_OrTheyWaitWithinTheirDeadlines(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config(func(c *RequesterConfig) { c.MaxInFlight, c.WhenFull = 3, FullWaits }))
		w.Sleep(time.Second)
		first := w.Call("price request", 3, a.asks("book", 0))
		held := d.asked(3)

		patient := w.Call("patient request", 2, a.asks("pen", 0))
		hasty := w.Call("hasty request", 1, a.asks("ink", 2*time.Second))
		w.Within(5*time.Second, hasty.Done())
		w.Claim(hasty.Returned(ErrTimeout), hasty.Took(2*time.Second), neverSent(d, 3))
		d.priceOf(held...)
		d.priceOf(d.asked(5)[3:]...)

		w.Within(time.Second, harness.All(first.Done(), patient.Done()))
		w.Claim(first.Returned(nil), patient.Returned(nil), a.nobodyWaits(), harness.Reported(func() error {
			if l := a.Stats().Latency; l.Count != 5 || l.Sum < 9900*time.Millisecond {
				return fmt.Errorf("five callers waited for 2s or longer, two of them mostly for a place; the latencies are %+v", l)
			}
			return nil
		}))
	})
}

// neverSent claims that no more than n requests were sent.
//
//go:noinline
func neverSent(d *desk, n int) harness.Claim {
	return func(*harness.World) error {
		if got := len(d.requests.Records()); got > n {
			return harness.Broke[harness.Overlapped]("the limit is there for the other side's sake", "%d requests wait for replies at once; MaxInFlight allows %d", got, n)
		}
		return nil
	}
}

// A request that timed out before there was a place to listen has given its place back as well.
func TestStep17_APlaceIsFreeAgainAfterAnOutage(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		w.Kafka().Down()
		a := startShop(w, "shop", d.config(func(c *RequesterConfig) { c.MaxInFlight = 3 }))
		early := w.Call("request during the outage", 3, a.asks("book", 2*time.Second))
		w.Within(time.Minute, early.Done())
		w.Kafka().Up()
		w.Within(time.Minute, healthy("shop", a.Health, true, true, ""))
		before := len(d.requests.Records())

		later := w.Call("request afterwards", 3, a.asks("pen", 20*time.Second))
		d.priceOf(d.asked(before + 3)[before:]...)

		w.Within(time.Second, later.Done())
		w.Claim(early.Returned(ErrTimeout), later.Returned(nil), a.nobodyWaits())
	})
}

// Nobody will hear a reply any more: whoever waits is told now, and whoever asks later too.
func TestStep18_CloseReleasesWhoeverWaits(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config(func(c *RequesterConfig) { c.MaxInFlight, c.WhenFull = 3, FullWaits }))
		a.MayEnd()
		w.Sleep(time.Second)
		waiting := w.Call("request in flight", 3, a.asks("book", time.Minute))
		d.asked(3)
		queued := w.Call("request that waits for its turn", 2, a.asks("pen", time.Minute))
		w.Sleep(4 * time.Second)

		closing := w.Call("Close", 2, func(context.Context, int) error { a.Close(); return nil })
		w.Within(5*time.Second, harness.All(closing.Done(), waiting.Done(), queued.Done(), harness.Gone("shop")))
		later := w.Call("request after Close", 1, a.asks("ink", time.Minute))
		w.Within(5*time.Second, later.Done())

		w.Claim(waiting.Returned(ErrClosed), queued.Returned(ErrClosed), later.Returned(ErrClosed), queued.Within(4100*time.Millisecond), waiting.Within(4100*time.Millisecond),
			later.Took(0), a.nobodyWaits())
	})
}

// The end of Run's context is as good as Close.
func TestStep18_AStopReleasesWhoeverWaits(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(time.Second)
		waiting := w.Call("request in flight", 3, a.asks("book", time.Minute))
		d.asked(3)
		w.Kafka().Down()
		unsent := w.Call("request that is not sent yet", 3, a.asks("pen", time.Minute))
		w.Sleep(time.Second)

		a.Stop()
		w.Within(time.Second, harness.All(waiting.Done(), unsent.Done()))

		w.Claim(waiting.Returned(ErrClosed), unsent.Returned(ErrClosed), a.nobodyWaits())
	})
}

// A service that failed to start closes what it has made so far. That is no reason to hang.
func TestStep18_CloseNeedsNoRun(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		q, err := NewRequester(DefaultRequesterConfig())
		if err != nil {
			w.Claim(func(*harness.World) error { return err })
			return
		}

		closing := w.Call("Close without Run", 1, func(context.Context, int) error { q.Close(); return nil })
		w.Within(time.Second, closing.Done())
		later := w.Call("request after Close", 20, func(ctx context.Context, i int) (err error) {
			if i%2 == 0 {
				_, err = q.Ask(ctx, Request{Value: []byte("book")})
			} else {
				_, err = q.Submit(ctx, Request{Value: []byte("book")})
			}
			return err
		})

		w.Within(time.Second, later.Done())
		w.Claim(later.Returned(ErrClosed), later.Took(0))
	})
}
