package lesson13

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// Each request is worked on and replied to: where it asks for it, under its correlation id, by name.
func TestStep06_EachRequestIsRepliedToWhereItAsksForIt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work := newCounterpart(w), w.Effects("pricing")
		bulk := w.Topic("bulk-requests", 1)
		startPricing(w, "pricing", c.answering(func(cfg *ResponderConfig) { cfg.Topics = append(cfg.Topics, bulk.Name) }), nil, quoteOnce(work))

		c.ask("book", "pen", "ink")
		bulk.To(0, c.request("crate"))
		c.requests.To(0, c.request("globe", HeaderReplyPartition, ""), c.request("atlas", HeaderReplyPartition, "", HeaderDeadline, FormatDeadline(time.Now().Add(time.Hour))))

		w.Within(time.Minute, c.group.Drained(c.requests, bulk))
		w.Claim(work.Once("book", "pen", "ink", "globe", "atlas", "crate"), c.repliedOnce("book", "pen", "ink", "crate"), func(*harness.World) error {
			for _, thing := range []string{"globe", "atlas"} {
				if replies := repliedTo(c.replies, thing); len(replies) != 1 || string(replies[0].Value) != "price of "+thing {
					return harness.Broke[harness.Lost]("a requester that listens to all partitions names none", "the request for %s names no partition; it got %d replies", thing, len(replies))
				}
			}
			for _, r := range c.replies.Records() {
				if name, _ := Header(r, HeaderResponder); name != "pricing" {
					return harness.Broke[harness.Misreported]("who gathers replies tells services apart by it", "%s of a reply is %q; the responder's name is pricing", HeaderResponder, name)
				}
			}
			return nil
		})
	})
}

// A handler's error is an answer. Its own words stay inside, unless it says which are for the other side.
func TestStep06_AHandlersErrorIsReplied(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
			switch string(r.Value) {
			case "dodo":
				return nil, fmt.Errorf("pricing: %w", &RemoteError{Code: "unknown_article", Message: "there are no dodos"})
			case "secret":
				return nil, errors.New("dial tcp 10.0.0.7: password hunter2 refused")
			case "bomb":
				panic("index out of range")
			}
			return quote(p, ctx, r)
		})

		c.ask("dodo", "secret", "bomb", "book")

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(c.refused("dodo", "unknown_article", "there are no dodos"), c.refused("secret", CodeInternal, ""), c.refused("bomb", CodeInternal, ""), c.repliedOnce("book"))
	})
}

// refused claims that a request got one reply, an error with this code and, if it is not empty, this message. Nothing of an
// error that was not made for the other side is in it.
//
//go:noinline
func (c *counterpart) refused(thing, code, message string) harness.Claim {
	return func(*harness.World) error {
		replies := repliedTo(c.replies, thing)
		if len(replies) == 0 {
			return harness.Broke[harness.Lost]("an error that is not replied is a caller who waits until its deadline for nothing", "nobody has replied to the request for %s", thing)
		}
		got, _ := Header(replies[0], HeaderError)
		says, _ := Header(replies[0], HeaderErrorMessage)
		if got != code || message != "" && says != message {
			return harness.Broke[harness.Misreported]("the other side decides by the code", "the request for %s was replied to with %s %q, message %q; it should be %q, %q", thing, HeaderError, got, says, code, message)
		}
		if text := fmt.Sprint(says, string(replies[0].Value)); strings.Contains(text, "hunter2") || strings.Contains(text, "index") {
			return harness.Broke[harness.Misreported]("an error's text has addresses, names and passwords in it, and the reply goes to another service", "the reply about %s tells %q", thing, text)
		}
		return nil
	}
}

// An answer may be empty. Whoever asked waits for it all the same.
func TestStep06_AnEmptyAnswerIsReplied(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, func(*harness.Process, context.Context, *kgo.Record) ([][]byte, error) { return nil, nil })

		c.ask("book")

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(func(*harness.World) error {
			replies := repliedTo(c.replies, "book")
			if len(replies) != 1 {
				return harness.Broke[harness.Lost]("done is an answer too: without it the caller waits until its deadline", "the handler has answered with no parts and no error; there are %d replies", len(replies))
			}
			if code, failed := Header(replies[0], HeaderError); failed || len(replies[0].Value) > 0 {
				return harness.Broke[harness.Misreported]("", "the handler has answered with no parts and no error; the reply says %q, %s %q", replies[0].Value, HeaderError, code)
			}
			return nil
		})
	})
}

// Nobody waits for a reply: the work is done, and nothing is sent.
func TestStep06_ARequestThatWantsNoReplyGetsNone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, work := newCounterpart(w), w.Effects("pricing")
		startPricing(w, "pricing", c.answering(), nil, quoteOnce(work))

		c.requests.To(0, c.request("book", HeaderReplyTo, "", HeaderReplyPartition, ""))

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(work.Once("book"), func(*harness.World) error {
			if n := len(c.replies.Records()) + len(c.dead.Records()); n != 0 {
				return harness.Broke[harness.Misrouted]("a reply that nobody asked for is somebody's puzzle", "a request without %s led to %d records", HeaderReplyTo, n)
			}
			return nil
		})
	})
}

// Submitted is stored: whoever is told the id may go home. The answer comes on the callback topic, under that id.
func TestStep07_ASubmittedRequestIsAnsweredOnTheCallbackTopic(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, callbacks := newCounterpart(w), w.Topic("price-callbacks", 2)
		a := startShop(w, "shop", c.config(func(cfg *RequesterConfig) { cfg.CallbackTopic = callbacks.Name }))
		ids := submitted(w, a, "book", "pen")
		w.Sleep(time.Minute) // nobody waits, so nothing expires

		startPricing(w, "pricing", c.answering(func(cfg *ResponderConfig) { cfg.ReplyTopics = append(cfg.ReplyTopics, callbacks.Name) }), nil, quote)

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(a.nobodyWaits(), func(*harness.World) error {
			prices := map[string]string{}
			for _, r := range callbacks.Records() {
				id, _ := Header(r, HeaderCorrelationID)
				prices[id] = string(r.Value)
			}
			for i, thing := range []string{"book", "pen"} {
				if got := prices[ids[i]]; got != "price of "+thing {
					return harness.Broke[harness.Lost]("who submits a request finds the answer by its id, or never", "the request for %s is %s; the callback topic has %q under it", thing, ids[i], got)
				}
			}
			return nil
		})
	})
}

// Without a callback topic the answer is stored, and nowhere else: nobody listens for it.
func TestStep07_WithoutACallbackTopicTheAnswerIsStoredAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, store := newCounterpart(w), newShelf(w)
		a := startShop(w, "shop", c.config())
		ids := submitted(w, a, "book")

		s := startPricing(w, "pricing", c.answering(), store, quote)

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(s.status(ids[0], StateDone, "price of book"), func(*harness.World) error {
			if n := len(c.replies.Records()) + len(c.dead.Records()); n != 0 {
				return harness.Broke[harness.Misrouted]("a reply that nobody waits for is traffic and a puzzle", "a submitted request without a callback topic led to %d records", n)
			}
			return nil
		})
	})
}

// submitted submits requests for things and returns their ids.
func submitted(w *harness.World, a *shop, things ...string) []string {
	ids := make([]string, len(things))
	calls := w.Call("submitted request", len(things), func(ctx context.Context, i int) (err error) {
		ids[i], err = a.Submit(ctx, Request{Key: []byte(things[i]), Value: []byte(things[i])})
		return err
	})
	w.Within(30*time.Second, calls.Done())
	w.Claim(calls.Returned(nil))
	return ids
}

// An id is a promise. Before the request is acknowledged, nobody can make it.
func TestStep07_AnIdIsGivenForAStoredRequestAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(5 * time.Second)
		w.Kafka().Down()
		var id string

		submit := w.Call("submitted request", 1, func(ctx context.Context, _ int) (err error) {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			id, err = a.Submit(ctx, Request{Value: []byte("book")})
			return err
		})
		w.Within(time.Minute, submit.Done())

		w.Claim(func(w *harness.World) error {
			err := submit.Returned(ErrTimeout)(w)
			if unwritten(err) {
				return err
			}
			if err != nil {
				return harness.Broke[harness.Lost]("whoever has the id believes that the request will be answered", "Submit returned id %q while Kafka was away and nothing can have been stored: %v", id, err)
			}
			return nil
		}, submit.Took(3*time.Second), a.nobodyWaits())
		w.Kafka().Up()
	})
}

// How far is it? Unknown, in work, done; another instance with the same store knows of what is done.
func TestStep08_AStatusCanBeAskedFor(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c, store := newCounterpart(w), newShelf(w)
		s := startPricing(w, "pricing", c.answering(), store, takes(10*time.Second))
		w.Sleep(10 * time.Second)
		w.Claim(s.status("id-book", StateUnknown, ""))

		c.ask("book")
		w.Until(s.Busy(1))
		w.Sleep(time.Second)
		w.Claim(s.status("id-book", StateWorking, ""))
		w.Sleep(10 * time.Second)

		other := startPricing(w, "pricing-2", c.answering(), store, quote)
		w.Claim(s.status("id-book", StateDone, "price of book"), other.status("id-book", StateDone, "price of book"), s.status("id-pen", StateUnknown, ""))
	})
}

// status claims what a responder says of a request.
//
//go:noinline
func (s *pricing) status(id string, want State, value string) harness.Claim {
	return func(w *harness.World) error {
		got, err := s.Status(w.Context(), id)
		switch {
		case unwritten(err):
			return err
		case err != nil:
			return harness.Broke[harness.Misreported]("", "%s has no status of %s: %v", s.Name, id, err)
		case got.State != want:
			return harness.Broke[harness.Misreported]("who is told less asks for the work again; who is told more waits for nothing", "%s says that %s is in state %d; it should be %d", s.Name, id, got.State, want)
		case want == StateDone && (len(got.Answer.Parts) != 1 || string(got.Answer.Parts[0]) != value):
			return harness.Broke[harness.Misrouted]("", "%s says that the answer to %s is %q; it should be %q", s.Name, id, got.Answer.Parts, value)
		}
		return nil
	}
}

// What the store has forgotten is unknown again, and not in work for ever.
func TestStep08_WhatIsForgottenIsUnknown(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		s := startPricing(w, "pricing", c.answering(func(cfg *ResponderConfig) { cfg.StoredReplies = 1 }), nil, quote)

		c.ask("book", "pen")

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(s.status("id-book", StateUnknown, ""), s.status("id-pen", StateDone, "price of pen"))
	})
}

// It looks at once, then every interval, and returns with the answer; a lookup that fails is not the end.
func TestStep08_PollingLooksEveryIntervalUntilItIsDone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		var looked []time.Duration
		began := w.Now()
		polling := w.Call("polling caller", 1, func(ctx context.Context, _ int) error {
			parts, err := Poll(ctx, "id-book", 2*time.Second, func(_ context.Context, id string) (Status, error) {
				looked = append(looked, w.Now()-began)
				switch len(looked) {
				case 1:
					return Status{}, nil
				case 2:
					return Status{}, errors.New("502 bad gateway")
				case 3:
					return Status{State: StateWorking}, nil
				}
				return Status{State: StateDone, Answer: Answer{Parts: [][]byte{[]byte("price of " + id)}}}, nil
			})
			if err == nil && (len(parts) != 1 || string(parts[0]) != "price of id-book") {
				return harness.Broke[harness.Misrouted]("", "the answer is the price of id-book; Poll returned %q", parts)
			}
			return err
		})

		w.Within(time.Minute, polling.Done())

		w.Claim(polling.Returned(nil), polling.Took(6*time.Second), func(*harness.World) error {
			if len(looked) != 4 {
				return harness.Broke[harness.Wasteful]("", "the fourth look, after 6s, finds it done; there were %d looks: %v", len(looked), looked)
			}
			return nil
		})
	})
}

// The answer is an error, or the caller has waited long enough: either ends it.
func TestStep08_PollingEndsWithAnErrorToo(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		refused := w.Call("polling caller", 1, func(ctx context.Context, _ int) error {
			_, err := Poll(ctx, "id", time.Second, func(context.Context, string) (Status, error) {
				return Status{State: StateDone, Answer: Answer{Err: &RemoteError{Code: "unknown_article"}}}, nil
			})
			return remote(err, "unknown_article")
		})
		impatient := w.Call("impatient caller", 1, func(ctx context.Context, _ int) error {
			ctx, cancel := context.WithTimeout(ctx, 2500*time.Millisecond)
			defer cancel()
			_, err := Poll(ctx, "id", time.Second, func(context.Context, string) (Status, error) { return Status{State: StateWorking}, nil })
			return err
		})

		w.Within(time.Minute, harness.All(refused.Done(), impatient.Done()))

		w.Claim(refused.Returned(nil), refused.Took(0), impatient.Returned(context.DeadlineExceeded), impatient.Took(2500*time.Millisecond))
	})
}

// A store in memory keeps as many answers as it was told to, and the newest ones.
func TestStep08_TheMemoryStoreIsBounded(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		store := NewMemoryStore(3)
		ctx := w.Context()
		var failed error
		for i := range 5 {
			failed = errors.Join(failed, store.Save(ctx, fmt.Sprint(i), Answer{Parts: [][]byte{fmt.Append(nil, i)}}))
		}
		failed = errors.Join(failed, store.Save(ctx, "4", Answer{Parts: [][]byte{[]byte("again")}})) // no new one

		w.Claim(func(*harness.World) error {
			if failed != nil {
				return failed
			}
			for i, want := range []bool{false, false, true, true, true} {
				a, found, err := store.Load(ctx, fmt.Sprint(i))
				switch {
				case err != nil:
					return err
				case found && !want:
					return harness.Broke[harness.Leaked]("a store without a bound is a slow way to run out of memory", "a store of 3 answers has got 5, and still has the one to request %d", i)
				case want && !found:
					return harness.Broke[harness.Lost]("a stored answer that is forgotten is work that is done again", "a store of 3 answers has got 5, and has forgotten the one to request %d", i)
				case i == 4 && string(a.Parts[0]) != "again":
					return harness.Broke[harness.Misrouted]("", "the answer to request 4 was saved again; the store has %q", a.Parts)
				}
			}
			return nil
		})
	})
}

// What became of all requests adds up, and latency is from the call to its return.
func TestStep09_ARequestersStatisticsAddUp(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(time.Second)
		ok := w.Call("price request", 3, a.asks("book", 0))
		silent := w.Call("unanswerable request", 2, a.asks("dodo", 5*time.Second))
		w.Sleep(time.Second)
		w.Claim(a.counted("waiting=5"))

		w.Sleep(time.Second)
		requests := d.requests.Records()
		for _, r := range requests {
			if strings.HasPrefix(string(r.Value), "book") {
				d.priceOf(r)
			}
		}
		w.Within(time.Minute, harness.All(ok.Done(), silent.Done()))
		d.reply(requests[0], "price of "+string(requests[0].Value))
		w.Sleep(time.Second)

		w.Claim(ok.Returned(nil), silent.Returned(ErrTimeout), a.counted("requests=5 replied=3 timeouts=2 unawaited_replies=1 waiting=0"), harness.Reported(func() error {
			s := a.Stats()
			if s.Latency.Count != 3 || s.Latency.P50 < 2*time.Second || w.Exact() && s.Latency.Max > 2100*time.Millisecond {
				return fmt.Errorf("three requests were replied to after 2s each; the latencies are %+v", s.Latency)
			}
			if s.Totals.Received != 4 || s.Totals.Processed != 3 || s.Totals.Filtered != 1 || s.Totals.Unaccounted() != 0 {
				return fmt.Errorf("of 4 replies 3 reached a caller and 1 came once more; the totals are %+v", s.Totals)
			}
			a.ResetStats()
			if s := a.Stats(); s.Extra["requests"] != 0 || s.Latency.Count != 0 {
				return fmt.Errorf("after ResetStats there are %d requests and %d latencies", s.Extra["requests"], s.Latency.Count)
			}
			return nil
		}))
	})
}

// Answered, expired and dead requests add up to those that came.
func TestStep09_AResponderStatisticsAddUp(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		s := startPricing(w, "pricing", c.answering(), nil, func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
			if string(r.Value) == "dodo" {
				return nil, errors.New("no such thing")
			}
			return quote(p, ctx, r)
		})

		c.ask("book", "pen", "dodo")
		c.requests.To(0, c.request("late", HeaderDeadline, FormatDeadline(time.Now().Add(-time.Second))), c.request("lost", HeaderReplyTo, "somewhere"))

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(extra(s.Name, s.Stats, "expired=1 stored_replies=0"), harness.Reported(func() error {
			t := s.Stats().Totals
			if t.Received != 5 || t.Processed != 3 || t.Filtered != 1 || t.Dead != 1 || t.Failed != 1 || t.Unaccounted() != 0 {
				return fmt.Errorf("3 requests were answered (one with an error), 1 had expired, 1 is dead; the totals are %+v", t)
			}
			return nil
		}))
	})
}

// A broker that is down makes both sides unready and neither dead.
func TestStep09_AnOutageMakesUnreadyNotDead(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		a, s := startShop(w, "shop", c.config()), startPricing(w, "pricing", c.answering(), nil, quote)
		both := func(ready bool) harness.Claim {
			return harness.All(healthy("shop", a.Health, true, ready, ""), healthy("pricing", s.Health, true, ready, ""))
		}
		w.Within(time.Minute, both(true))

		w.Kafka().Down()
		w.Within(time.Minute, both(false))
		w.Kafka().Up()

		w.Within(2*time.Minute, both(true))
	})
}

// Who cannot hear replies must not be asked to ask; who hangs in a handler needs a restart.
func TestStep09_HealthSaysWhatIsWrong(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		deaf := startShop(w, "shop", c.config(func(cfg *RequesterConfig) { cfg.ReplyPartition = 7 }))
		s := startPricing(w, "pricing", c.answering(func(cfg *ResponderConfig) { cfg.StallAfter = time.Minute }), nil, takes(time.Hour))
		w.Sleep(30 * time.Second)
		w.Claim(healthy("shop", deaf.Health, true, false, c.replies.Name), healthy("pricing", s.Health, true, true, ""))

		c.ask("book")
		w.Until(s.Busy(1))
		w.Sleep(58 * time.Second)
		w.Claim(healthy("pricing", s.Health, true, true, ""))
		w.Sleep(4 * time.Second)
		w.Claim(healthy("pricing", s.Health, false, false, ""))

		c.replies.AddPartitions(8)
		w.Within(time.Minute, healthy("shop", deaf.Health, true, true, ""))
	})
}

// Paused, it takes no requests in, and is healthy. Then it goes on.
func TestStep09_APausedResponderTakesNothingIn(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		c := newCounterpart(w)
		s := startPricing(w, "pricing", c.answering(), nil, quote)
		w.Within(time.Minute, healthy("pricing", s.Health, true, true, ""))

		s.Pause()
		w.Sleep(time.Second)
		c.ask("book")
		w.Sleep(20 * time.Second)
		w.Claim(healthy("pricing", s.Health, true, true, ""), harness.Reported(func() error {
			if st := s.Stats(); !st.Paused || st.Totals.Received != 0 {
				return fmt.Errorf("a responder that was paused says paused=%t and has received %d requests", st.Paused, st.Totals.Received)
			}
			return nil
		}))
		s.Resume()

		w.Within(time.Minute, c.group.Drained(c.requests))
		w.Claim(c.repliedOnce("book"))
	})
}

var _ ops.Source = (*Requester)(nil)
var _ interface {
	ops.Source
	ops.Controls
} = (*Responder)(nil)
