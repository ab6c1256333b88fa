package lesson13

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A requester crashes and is back at once. What its earlier life is replied now is not for the callers of this one.
func TestStep19_ARestartedRequesterIgnoresOldReplies(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		before := w.Call("request of the earlier life", 3, func(ctx context.Context, i int) error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			_ = a.asks("book", 0)(ctx, i)
			return nil
		})
		old := d.asked(3)
		a.Crash()
		w.Within(time.Minute, before.Done())

		b := startShop(w, "shop-again", d.config())
		now := w.Call("request of this life", 3, b.asks("pen", 0))
		requests := d.asked(6)[3:]
		d.priceOf(old...)
		w.Sleep(time.Second)
		d.priceOf(requests...)

		w.Within(time.Second, now.Done())
		w.Claim(now.Returned(nil), b.counted("foreign_replies=3"), b.nobodyWaits())
	})
}

// The requester has given up: work for it is work for nobody. Up to the deadline it is work.
func TestStep20_ExpiredWorkIsSkipped(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work := newCounterpart(w), w.Effects("pricing")
		in := func(d time.Duration) string { return FormatDeadline(time.Now().Add(d)) }
		c.requests.To(0, c.request("book", HeaderDeadline, in(5*time.Second)), c.request("pen", HeaderDeadline, in(time.Hour)), c.request("ink"))
		w.Sleep(5 * time.Second)

		s := startPricing(w, "pricing", c.answering(), nil, quoteOnce(work))

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(work.Once("pen", "ink"), c.repliedOnce("pen", "ink"), extra("pricing", s.Stats, "expired=1"), func(*harness.World) error {
			if n := len(repliedTo(c.replies, "book")) + len(c.dead.Records()); n > 0 {
				return harness.Broke[harness.Wasteful]("", "nobody waits for the reply about the book since 5s; it led to %d records", n)
			}
			return nil
		})
	})
}

// A request that waits for its turn may expire there. It is looked at when its turn comes, not when it was fetched.
func TestStep20_TheDeadlineIsLookedAtWhenTheTurnComes(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work := newCounterpart(w), w.Effects("pricing")
		s := startPricing(w, "pricing", c.answering(), nil, func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
			time.Sleep(4 * time.Second)
			return quoteOnce(work)(p, ctx, r)
		})
		w.Sleep(10 * time.Second)
		in := func(d time.Duration) string { return FormatDeadline(time.Now().Add(d)) }

		c.requests.To(0, c.request("book"), c.request("pen", HeaderDeadline, in(2*time.Second)), c.request("ink", HeaderDeadline, in(time.Hour)))

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(func(*harness.World) error {
			if n := len(work.Of("pen")()); n > 0 {
				return harness.Broke[harness.Wasteful]("under load every request expires in the queue: then all work is work for nobody", "the request for the pen expired while it waited for its turn; it was worked on all the same")
			}
			return nil
		}, work.Once("book", "ink"), c.repliedOnce("book", "ink"), extra("pricing", s.Stats, "expired=1"))
	})
}

// The deadline of the requester is the deadline of the work: whoever the handler asks in turn is asked with it.
func TestStep20_TheHandlerIsToldTheDeadline(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, takes(time.Hour))
		w.Sleep(10 * time.Second)
		c.requests.To(0, c.request("book", HeaderDeadline, FormatDeadline(time.Now().Add(7*time.Second))))

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(harness.Times("ends of work that has a deadline", func() []harness.Event { return w.Journal().Events(harness.Of(harness.Failed)) }, 17*time.Second))
	})
}

// It cannot be answered where it asks for it, or not understood at all: it is kept with the reason, and the next is answered.
func TestStep21_WhatCannotBeRepliedToIsDeadLettered(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work := newCounterpart(w), w.Effects("pricing")
		gone := w.Topic("price-gone", 1)
		startPricing(w, "pricing", c.answering(func(cfg *ResponderConfig) { cfg.ReplyTopics = append(cfg.ReplyTopics, "price-missing", gone.Name) }), nil, quoteOnce(work))
		w.Sleep(10 * time.Second)
		c.ask("book")
		c.requests.To(0,
			c.request("topic", HeaderReplyTo, "price-missing", "currency", "EUR"),
			c.request("partition", HeaderReplyPartition, "7"),
			c.request("number", HeaderReplyPartition, "one"),
			c.request("deadline", HeaderDeadline, "tomorrow"),
			c.request("anonymous", HeaderCorrelationID, ""))
		c.ask("pen")

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(c.repliedOnce("book", "pen"), c.buried("topic", "partition", "number", "deadline", "anonymous"), c.repliedBeforeCommitted())
	})
}

// buried claims that exactly these requests are in the dead-letter topic, each once, as they were and with the reason.
//
//go:noinline
func (c *counterpart) buried(things ...string) harness.Claim {
	return func(*harness.World) error {
		found := map[string]int{}
		for _, r := range c.dead.Records() {
			thing := string(r.Value)
			found[thing]++
			if !slices.Contains(things, thing) {
				return harness.Broke[harness.WronglyDeadLettered]("what is dead-lettered is not answered", "the request for %s was given up, and could have been answered", thing)
			}
			reason, _ := Header(r, HeaderDeadReason)
			origin, _ := Header(r, HeaderDeadOrigin)
			if reason == "" || !strings.HasPrefix(origin, c.requests.Name+"/0@") || string(r.Key) != thing {
				return harness.Broke[harness.Misrouted]("whoever looks at it has nothing else to go by", "the dead letter of %s has key %q, %s %q and %s %q", thing, r.Key, HeaderDeadReason, reason, HeaderDeadOrigin, origin)
			}
			if currency, _ := Header(r, "currency"); thing == "topic" && currency != "EUR" {
				return harness.Broke[harness.Misrouted]("what is taken up again later has to be what was sent", "the dead letter of %s has lost its header currency", thing)
			}
		}
		for _, thing := range things {
			switch n := found[thing]; {
			case n == 0:
				return harness.Broke[harness.Lost]("it was neither answered nor kept", "the request for %s cannot be answered, and is not in the dead-letter topic", thing)
			case n > 1:
				return harness.Broke[harness.Duplicated]("", "the request for %s is %d times in the dead-letter topic", thing, n)
			}
		}
		return nil
	}
}

// Whoever may write requests must not be able to have replies written anywhere: such a request is not even worked on.
func TestStep21_RepliesGoToAllowedTopicsAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work, orders := newCounterpart(w), w.Effects("pricing"), w.Topic("orders", 1)
		startPricing(w, "pricing", c.answering(), nil, quoteOnce(work))

		c.requests.To(0, c.request("book", HeaderReplyTo, orders.Name, HeaderReplyPartition, "0"))
		c.ask("pen")

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(func(*harness.World) error {
			if n := len(orders.Records()); n > 0 {
				return harness.Broke[harness.Misrouted]("a stranger's request has written an order", "%d replies went to %s, which is not in reply_topics", n, orders)
			}
			return nil
		}, c.buried("book"), work.Once("pen"), c.repliedOnce("pen"))
	})
}

// The dead-letter topic cannot be written: nothing is given up for lost. When it can, things go on.
func TestStep21_WithoutADeadLetterNothingIsCommitted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		s := startPricing(w, "pricing", c.answering(), nil, quote)
		w.Sleep(10 * time.Second)
		s.Fault(harness.Fail(harness.Produce, kerr.TopicAuthorizationFailed).Times(20))

		c.requests.To(0, c.request("anonymous", HeaderCorrelationID, ""))
		w.Sleep(10 * time.Second)
		w.Claim(c.repliedBeforeCommitted(), healthy("pricing", s.Health, true, false, ""))

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(c.buried("anonymous"), c.repliedBeforeCommitted(), healthy("pricing", s.Health, true, true, ""))
	})
}

// The answer is larger than a record may be: the caller is told so, and the next request is answered.
func TestStep21_AnAnswerThatIsTooLargeIsAnError(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
			if string(r.Value) == "catalogue" {
				return [][]byte{make([]byte, 2<<20)}, nil
			}
			return quote(p, ctx, r)
		})

		c.ask("catalogue", "book")

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(c.refused("catalogue", CodeTooLarge, ""), c.repliedOnce("book"), c.buried())
	})
}

// Three services are asked at once. All of them reply, one of them with an error: that is complete.
func TestStep22_GatheringEndsWithTheLastReply(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		gathered := w.Call("gathering", 1, func(ctx context.Context, _ int) error {
			g, err := a.Gather(ctx, Request{Value: []byte("book")}, 3)
			if err != nil {
				return err
			}
			return gatheredIs(g, 0, "amazing=9", "books=7", "corner=unknown_article")
		})

		r := d.asked(1)[0]
		d.reply(r, "9", HeaderResponder, "amazing")
		d.reply(r, "9", HeaderResponder, "amazing") // it crashed before its commit
		w.Sleep(time.Second)
		d.reply(r, "", HeaderResponder, "corner", HeaderError, "unknown_article")
		d.reply(r, "7", HeaderResponder, "books")

		w.Within(time.Second, gathered.Done())
		w.Claim(gathered.Returned(nil), a.nobodyWaits())
	})
}

// gatheredIs is nil if these are the replies, by responder, in any order, and that many are missing.
func gatheredIs(g Gathered, missing int, want ...string) error {
	var got []string
	for _, r := range g.Replies {
		value := string(r.Value)
		var e *RemoteError
		if errors.As(r.Err, &e) {
			value = e.Code
		}
		got = append(got, r.Responder+"="+value)
	}
	slices.Sort(got)
	if g.Missing != missing {
		return harness.Broke[harness.Misreported]("a part that is taken for the whole is a wrong answer", "%d replies of %d came; %d are said to be missing", len(want), len(want)+missing, g.Missing)
	}
	if !slices.Equal(got, want) {
		return harness.Broke[harness.Lost]("", "the replies were %q; the caller was given %q", want, got)
	}
	return nil
}

// One is silent: at the deadline there is what there is, marked.
func TestStep22_AtTheDeadlineAGatheringIsPartial(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(time.Second)
		gather := func(missing int, want ...string) func(context.Context, int) error {
			return func(ctx context.Context, _ int) error {
				g, err := a.Gather(ctx, Request{Value: []byte("book"), Timeout: 5 * time.Second}, 3)
				if err != nil {
					return err
				}
				return gatheredIs(g, missing, want...)
			}
		}
		partial := w.Call("gathering", 1, gather(1, "amazing=9", "books=7"))
		r := d.asked(1)[0]
		d.reply(r, "7", HeaderResponder, "books")
		d.reply(r, "9", HeaderResponder, "amazing")
		w.Within(time.Minute, partial.Done())
		nothing := w.Call("gathering of silence", 1, gather(3))
		d.reply(r, "8", HeaderResponder, "corner") // too late

		w.Within(time.Minute, nothing.Done())
		w.Claim(partial.Returned(nil), partial.Took(5*time.Second), nothing.Returned(nil), nothing.Took(5*time.Second), a.nobodyWaits(), a.counted("unawaited_replies=1 timeouts=2"))
	})
}

// A part is what the deadline leaves. Who cancels, or closes, is told so, with what came before.
func TestStep22_AGatheringThatIsEndedSaysSo(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		a.MayEnd()
		w.Sleep(time.Second)
		gather := func(ctx context.Context) error {
			g, err := a.Gather(ctx, Request{Value: []byte("book"), Timeout: time.Minute}, 3)
			if wrong := gatheredIs(g, 2, "books=7"); wrong != nil && !unwritten(err) {
				return wrong
			}
			return err
		}
		cancelled := w.Call("gathering that is cancelled after 3s", 1, func(ctx context.Context, _ int) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			time.AfterFunc(3*time.Second, cancel)
			return gather(ctx)
		})
		closed := w.Call("gathering that is closed", 1, func(ctx context.Context, _ int) error { return gather(ctx) })
		for _, r := range d.asked(2) {
			d.reply(r, "7", HeaderResponder, "books")
		}

		w.Within(10*time.Second, cancelled.Done())
		a.Close()
		w.Within(time.Second, closed.Done())

		w.Claim(cancelled.Returned(context.Canceled), cancelled.Took(3*time.Second), closed.Returned(ErrClosed), a.nobodyWaits())
	})
}

// Leaders move and brokers restart while requests are in flight: each is replied to within its deadline all the same.
func TestStep23_RequestsInFlightSurviveTheBrokers(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, takes(200*time.Millisecond))
		a := startShop(w, "shop", c.config(func(cfg *RequesterConfig) { cfg.ReplyPartition = 1 }))
		w.Sleep(10 * time.Second)
		first := w.Call("first price request", 1, a.asks("book", 0))
		w.Within(time.Minute, first.Done())
		w.Sleep(time.Second)
		idle := w.NoMoreGoroutines()

		prices := w.Call("price request", 50, a.asks("book", 30*time.Second))
		w.Sleep(time.Second)
		c.replies.MoveLeader(1)
		w.Sleep(time.Second)
		c.requests.MoveLeader(0)
		w.Sleep(2 * time.Second)
		leader := c.replies.Leader(1)
		w.Kafka().StopBroker(leader)
		w.Sleep(2 * time.Second)
		w.Kafka().StartBroker(leader)

		w.Within(time.Minute, prices.Done())
		w.Claim(prices.Returned(nil), prices.Within(30*time.Second), a.nobodyWaits(), idle)
	})
}

// The connections of the requester break, in the middle of a request and of a fetch.
func TestStep23_ABrokenConnectionLosesNoReply(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, quote)
		a := startShop(w, "shop", c.config())
		w.Sleep(10 * time.Second)
		a.Fault(harness.LoseReply(harness.Produce), harness.LoseReply(harness.Fetch), harness.Sever(harness.Fetch).AfterThe(2))

		prices := w.Call("price request", 20, a.asks("book", 20*time.Second))

		w.Within(time.Minute, prices.Done())
		w.Claim(prices.Returned(nil), a.nobodyWaits())
	})
}

// An answer in parts comes in parts, in order, until its end.
func TestStep24_AStreamIsReadInOrderUntilItsEnd(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, func(_ *harness.Process, _ context.Context, r *kgo.Record) (parts [][]byte, _ error) {
			for i := range 20 {
				parts = append(parts, fmt.Appendf(nil, "%s-%d", r.Value, i))
			}
			return parts, nil
		})
		a := startShop(w, "shop", c.config(func(cfg *RequesterConfig) { cfg.ReplyPartition = 1 }))

		streams := w.Call("stream", 5, func(ctx context.Context, i int) error {
			thing := fmt.Sprintf("page%d", i)
			var read []string
			err := a.Stream(ctx, Request{Key: []byte(thing), Value: []byte(thing), Timeout: 30 * time.Second}, collect(&read))
			return streamIs(err, thing, 20, read)
		})

		w.Within(time.Minute, streams.Done())
		w.Claim(streams.Returned(nil), a.nobodyWaits())
	})
}

// One part is a whole answer: it has no number and no end mark, and is the last one.
func TestStep24_AnAnswerOfOnePartIsAWholeStream(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(time.Second)
		stream := w.Call("stream", 1, func(ctx context.Context, _ int) error {
			var read []string
			err := a.Stream(ctx, Request{Value: []byte("page")}, collect(&read))
			return streamIs(err, "page", 1, read)
		})
		refused := w.Call("stream that is refused", 1, func(ctx context.Context, _ int) error {
			return remote(a.Stream(ctx, Request{Value: []byte("dodo")}, func(Reply) error { return nil }), "unknown_article")
		})

		for _, r := range d.asked(2) {
			if string(r.Value) == "page" {
				d.reply(r, "page-0")
			} else {
				d.reply(r, "", HeaderError, "unknown_article")
			}
		}

		w.Within(time.Minute, harness.All(stream.Done(), refused.Done()))
		w.Claim(stream.Returned(nil), stream.Within(2*time.Second), refused.Returned(nil), a.nobodyWaits())
	})
}

// A request that names no partition has its answer on one all the same: order is a partition's.
func TestStep24_AllPartsGoToOnePartition(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, func(_ *harness.Process, _ context.Context, r *kgo.Record) (parts [][]byte, _ error) {
			for i := range 6 {
				parts = append(parts, fmt.Appendf(nil, "%s-%d", r.Value, i))
			}
			return parts, nil
		})

		c.requests.To(0, c.request("page", HeaderReplyPartition, ""), c.request("list", HeaderReplyPartition, ""))

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(func(*harness.World) error {
			for _, thing := range []string{"page", "list"} {
				parts := repliedTo(c.replies, thing)
				for i, r := range parts {
					number, _ := Header(r, HeaderPart)
					switch _, end := Header(r, HeaderEnd); {
					case r.Partition != parts[0].Partition:
						return harness.Broke[harness.Misrouted]("parts on different partitions come in any order", "parts of the answer about %s are on partitions %d and %d", thing, parts[0].Partition, r.Partition)
					case number != fmt.Sprint(i) || end != (i == 5):
						return harness.Broke[harness.Reordered]("", "part %d of the answer about %s has %s %q, and %s: %t", i, thing, HeaderPart, number, HeaderEnd, end)
					}
				}
				if len(parts) != 6 {
					return harness.Broke[harness.Lost]("", "the answer about %s has 6 parts; %d were sent", thing, len(parts))
				}
			}
			return nil
		})
	})
}

// collect is a reader that notes each part.
func collect(read *[]string) func(Reply) error {
	return func(r Reply) error {
		*read = append(*read, string(r.Value))
		return nil
	}
}

// streamIs is nil if all n parts of a thing were read, each once and in order.
func streamIs(err error, thing string, n int, read []string) error {
	if err != nil {
		return err
	}
	for i, part := range read {
		if want := fmt.Sprintf("%s-%d", thing, i); part != want {
			if slices.Contains(read[:i], part) {
				return harness.Broke[harness.Duplicated]("who adds the parts up has it twice", "part %d of the stream was read again: %q", i, read)
			}
			return harness.Broke[harness.Reordered]("parts make sense in their order alone", "part %d of the stream is %q; it should be %q", i, part, want)
		}
	}
	if len(read) != n {
		return harness.Broke[harness.Lost]("a stream without its end looks like one that is over", "the stream has %d parts; its reader was given %d, and no error", n, len(read))
	}
	return nil
}

// The responder crashed in the middle; the next one sends all of it again. A gap is waited for, and no part is read twice.
func TestStep24_AStreamThatIsSentAgainIsReadOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		var read []string
		stream := w.Call("stream", 1, func(ctx context.Context, _ int) error {
			return streamIs(a.Stream(ctx, Request{Value: []byte("page")}, collect(&read)), "page", 4, read)
		})
		r := d.asked(1)[0]
		part := func(i int, end ...string) {
			d.reply(r, fmt.Sprintf("page-%d", i), append([]string{HeaderPart, fmt.Sprint(i)}, end...)...)
		}

		part(0)
		part(1)
		part(3, HeaderEnd, "true") // part 2 was refused
		w.Sleep(time.Second)
		part(0)
		part(1)
		part(2)
		part(3, HeaderEnd, "true")

		w.Within(time.Second, stream.Done())
		w.Claim(stream.Returned(nil), a.nobodyWaits(), a.counted("unawaited_replies=3"))
	})
}

// A stream may end in an error, in silence, or because its reader has had enough; each time the reader is told.
func TestStep24_AStreamThatDoesNotEndWellSaysSo(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(time.Second)
		enough := errors.New("enough")
		stream := func(each func(Reply) error) func(context.Context, int) error {
			return func(ctx context.Context, _ int) error {
				return a.Stream(ctx, Request{Value: []byte("page"), Timeout: 5 * time.Second}, each)
			}
		}
		nothing := func(Reply) error { return nil }
		failing := w.Call("stream that fails", 1, func(ctx context.Context, i int) error { return remote(stream(nothing)(ctx, i), "out_of_paper") })
		d.asked(1)
		cut := w.Call("stream with an error in place of part 1", 1, func(ctx context.Context, i int) error { return remote(stream(nothing)(ctx, i), CodeTooLarge) })
		d.asked(2)
		silent := w.Call("stream that falls silent", 1, stream(nothing))
		d.asked(3)
		left := w.Call("stream whose reader has enough", 1, stream(func(Reply) error { return enough }))

		requests := d.asked(4)
		for _, r := range requests {
			d.reply(r, "page-0", HeaderPart, "0")
		}
		d.reply(requests[1], "", HeaderError, CodeTooLarge)
		d.reply(requests[0], "", HeaderPart, "1", HeaderError, "out_of_paper", HeaderEnd, "true")

		w.Within(time.Minute, harness.All(failing.Done(), cut.Done(), silent.Done(), left.Done()))
		w.Claim(failing.Returned(nil), cut.Returned(nil), silent.Returned(ErrTimeout), silent.Took(5*time.Second), left.Returned(enough), a.nobodyWaits())
	})
}

// The reader of a stream asks for something else with each part: whoever hands out replies must not be the one who waits.
func TestStep24_AReaderMayAskInTurn(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
			if string(r.Value) == "basket" {
				return [][]byte{[]byte("book"), []byte("pen"), []byte("ink"), []byte("globe"), []byte("atlas")}, nil
			}
			return quote(p, ctx, r)
		})
		a := startShop(w, "shop", c.config())

		basket := w.Call("stream whose reader asks", 1, func(ctx context.Context, i int) error {
			return a.Stream(ctx, Request{Value: []byte("basket")}, func(r Reply) error { return a.asks(string(r.Value), 0)(ctx, i) })
		})

		w.Within(time.Minute, basket.Done())
		w.Claim(basket.Returned(nil), a.nobodyWaits())
	})
}

// One reader is slow. Its parts wait, up to a limit; everybody else's replies do not.
func TestStep24_ASlowReaderHoldsUpNobody(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config(func(c *RequesterConfig) { c.StreamBuffer = 5 }))
		slow := w.Call("stream with a slow reader", 1, func(ctx context.Context, _ int) error {
			return a.Stream(ctx, Request{Value: []byte("page"), Timeout: time.Minute}, func(Reply) error {
				time.Sleep(10 * time.Second)
				return nil
			})
		})
		r := d.asked(1)[0]
		for i := range 20 {
			d.reply(r, "page", HeaderPart, fmt.Sprint(i))
			w.Sleep(10 * time.Millisecond)
		}

		price := w.Call("price request", 1, a.asks("book", 0))
		d.priceOf(d.asked(2)[1])
		w.Within(time.Second, price.Done())
		w.Claim(price.Returned(nil))
		w.Within(2*time.Minute, slow.Done())

		w.Claim(slow.Returned(ErrTooSlow), a.nobodyWaits())
	})
}
