package lesson13

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// One request, one reply, one caller who gets it.
func TestStep02_AReplyReachesItsCaller(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())

		price := w.Call("price request", 1, a.asks("book", 0))
		d.priceOf(d.asked(1)...)

		w.Within(time.Second, price.Done())
		w.Claim(price.Returned(nil), a.nobodyWaits())
	})
}

// Whoever answers has to know where to, until when, and to which of many requests; and what is asked arrives as it was said.
func TestStep02_ARequestSaysWhereToAndUntilWhen(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config(func(c *RequesterConfig) { c.ReplyPartition, c.Timeout = 1, 7*time.Second }))
		w.Sleep(time.Second)

		at := w.Now()
		asked := w.Call("price request", 2, func(ctx context.Context, _ int) error {
			_, err := a.Ask(ctx, Request{Key: []byte("shelf-1"), Value: []byte("book"), Headers: []kgo.RecordHeader{{Key: "currency", Value: []byte("EUR")}}})
			return err
		})
		w.Sleep(time.Second)

		w.Claim(refusesStub(asked), addressed(d, at+7*time.Second))
	})
}

// refusesStub claims that callers were not told that something is not written yet.
//
//go:noinline
func refusesStub(c *harness.Calls) harness.Claim {
	return func(w *harness.World) error {
		if err := c.Returned(nil)(w); unwritten(err) {
			return err
		}
		return nil
	}
}

// addressed claims that the two requests can be replied to, and are as they were asked.
//
//go:noinline
func addressed(d *desk, deadline time.Duration) harness.Claim {
	return func(w *harness.World) error {
		sent := d.requests.Records()
		if len(sent) != 2 {
			return harness.Broke[harness.Lost]("a request that is not sent is not answered", "2 callers have asked; %d requests were sent", len(sent))
		}
		wrong := func(format string, args ...any) error {
			return harness.Broke[harness.Misrouted]("a responder knows nothing of who asks but what the request says", format, args...)
		}
		ids := map[string]bool{}
		for _, r := range sent {
			id, _ := Header(r, HeaderCorrelationID)
			if id == "" || ids[id] {
				return wrong("%s of a request is %q; it should be its own", HeaderCorrelationID, id)
			}
			ids[id] = true
			if to, _ := Header(r, HeaderReplyTo); to != d.replies.Name {
				return wrong("%s is %q; replies are awaited on %s", HeaderReplyTo, to, d.replies)
			}
			if partition, _ := Header(r, HeaderReplyPartition); partition != "1" {
				return wrong("%s is %q; replies are awaited on partition 1", HeaderReplyPartition, partition)
			}
			text, _ := Header(r, HeaderDeadline)
			at, err := ParseDeadline(text)
			if err != nil {
				return wrong("%s is %q: %v", HeaderDeadline, text, err)
			}
			if err := harness.Took("until the deadline that the request names", w.At(at), deadline)(w); err != nil {
				return err
			}
			if currency, _ := Header(r, "currency"); string(r.Key) != "shelf-1" || !bytes.Equal(r.Value, []byte("book")) || currency != "EUR" {
				return wrong("the request is key %q, value %q, currency %q; asked was key shelf-1, value book, currency EUR", r.Key, r.Value, currency)
			}
		}
		return nil
	}
}

// Replies come in the opposite order; each caller gets its own.
func TestStep02_AHundredRepliesInReverseReachTheirCallers(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		prices := w.Call("price request", 100, a.asks("book", 0))

		requests := d.asked(100)
		for i := range requests {
			d.priceOf(requests[len(requests)-1-i])
		}

		w.Within(time.Second, prices.Done())
		w.Claim(prices.Returned(nil), a.nobodyWaits())
	})
}

// What is asked is the same; the requests are not. A key or a value is no correlation.
func TestStep02_EqualQuestionsAreDifferentRequests(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		var mu sync.Mutex
		told := map[string]int{}
		common := append(make([]kgo.RecordHeader, 0, 8), kgo.RecordHeader{Key: "currency", Value: []byte("EUR")})
		asked := w.Call("draw of a number", 10, func(ctx context.Context, _ int) error {
			reply, err := a.Ask(ctx, Request{Key: []byte("lottery"), Value: []byte("a number"), Headers: common})
			mu.Lock()
			defer mu.Unlock()
			told[string(reply.Value)]++
			return err
		})

		requests := d.asked(10)
		w.Claim(func(*harness.World) error {
			if beyond := common[:2][1].Key; beyond != "" {
				return harness.Broke[harness.Misrouted]("two callers may share a slice of headers: what is appended to it in place is each other's correlation id",
					"the requests were asked with one slice of headers; behind its end there is %q now", beyond)
			}
			return nil
		})
		for i, r := range requests {
			d.reply(r, fmt.Sprint(i))
		}

		w.Within(time.Second, asked.Done())
		w.Claim(asked.Returned(nil), func(*harness.World) error {
			mu.Lock()
			defer mu.Unlock()
			if len(told) != 10 {
				return harness.Broke[harness.Misrouted]("equal questions are asked by different people, at different times", "10 requests with equal keys and values got 10 replies; their callers were told %d different ones", len(told))
			}
			return nil
		})
	})
}

// Nobody replies: the caller is told so at its deadline, not before and not after, and nothing of it is left.
func TestStep03_WithoutAReplyTheDeadlineIsExact(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config(func(c *RequesterConfig) { c.Timeout = 7 * time.Second }))
		w.Sleep(time.Second)
		idle := w.NoMoreGoroutines()

		asked := w.Call("price request", 3, a.asks("dodo", 0))

		w.Within(time.Minute, asked.Done())
		w.Claim(asked.Returned(ErrTimeout), asked.Took(7*time.Second), a.nobodyWaits(), idle)
	})
}

// A request may say how long it can wait; so may its context, and the earlier of the two counts.
func TestStep03_ARequestMayHaveATimeoutOfItsOwn(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config(func(c *RequesterConfig) { c.Timeout = 7 * time.Second }))
		w.Sleep(time.Second)

		shorter := w.Call("hasty request", 1, a.asks("dodo", 2*time.Second))
		longer := w.Call("patient request", 1, a.asks("dodo", 30*time.Second))
		bounded := w.Call("request with a context of 3s", 1, func(ctx context.Context, i int) error {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			return a.asks("dodo", 30*time.Second)(ctx, i)
		})

		w.Within(time.Minute, harness.All(shorter.Done(), longer.Done(), bounded.Done()))
		w.Claim(shorter.Took(2*time.Second), longer.Took(30*time.Second), bounded.Took(3*time.Second),
			shorter.Returned(ErrTimeout), longer.Returned(ErrTimeout), bounded.Returned(ErrTimeout), bounded.Returned(context.DeadlineExceeded), a.nobodyWaits())
	})
}

// The other side has to know until when this very request is waited for: not longer, and above all not less long.
func TestStep03_TheOtherSideIsToldTheSameDeadline(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config(func(c *RequesterConfig) { c.Timeout = 7 * time.Second }))
		w.Sleep(time.Second)

		longer := w.Call("patient request", 1, a.asks("longer", 30*time.Second))
		bounded := w.Call("request with a context of 3s", 1, func(ctx context.Context, i int) error {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			return a.asks("bounded", 30*time.Second)(ctx, i)
		})

		w.Within(time.Minute, harness.All(longer.Done(), bounded.Done()))
		w.Claim(longer.Returned(ErrTimeout), bounded.Returned(ErrTimeout), told(d, "longer-0", 31*time.Second), told(d, "bounded-0", 4*time.Second))
	})
}

// told claims what the request for a thing says of its deadline.
//
//go:noinline
func told(d *desk, thing string, want time.Duration) harness.Claim {
	return func(w *harness.World) error {
		for _, r := range d.requests.Records() {
			if string(r.Value) != thing {
				continue
			}
			text, _ := Header(r, HeaderDeadline)
			at, err := ParseDeadline(text)
			if err != nil {
				return harness.Broke[harness.Misrouted]("a responder knows nothing of who asks but what the request says", "%s is %q: %v", HeaderDeadline, text, err)
			}
			return harness.Took("until the deadline that the request for "+thing+" names", w.At(at), want)(w)
		}
		return harness.Broke[harness.Lost]("a request that is not sent is not answered", "the request for %s was not sent", thing)
	}
}

// Just in time is in time.
func TestStep03_AReplyJustBeforeTheDeadlineCounts(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		w.Sleep(time.Second)
		price := w.Call("price request", 1, a.asks("book", 10*time.Second))
		requests := d.asked(1)

		w.SleepUntil(11*time.Second - 50*time.Millisecond)
		d.priceOf(requests...)

		w.Within(time.Second, price.Done())
		w.Claim(price.Returned(nil))
	})
}

// While Kafka is away nobody can be asked; a deadline is a deadline all the same.
func TestStep03_ADeadlineHoldsWhileKafkaIsAway(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		w.Kafka().Down()
		a := startShop(w, "shop", d.config())

		asked := w.Call("price request", 2, a.asks("book", 5*time.Second))

		w.Within(time.Minute, asked.Done())
		w.Claim(asked.Took(5*time.Second), asked.Returned(ErrTimeout), a.nobodyWaits())
		w.Kafka().Up()
		w.Sleep(10 * time.Second)
		again := w.Call("price request after the outage", 1, a.asks("book", 20*time.Second))
		w.Sleep(10 * time.Second)
		for _, r := range d.requests.Records() { // those of the outage may be there as well
			d.priceOf(r)
		}
		w.Within(time.Minute, again.Done())
		w.Claim(again.Returned(nil))
	})
}

// The other side says no: that is an answer, and neither silence nor a misunderstanding.
func TestStep04_ARemoteErrorIsTyped(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		var got *RemoteError
		asked := w.Call("price request", 1, func(ctx context.Context, _ int) error {
			_, err := a.Ask(ctx, Request{Value: []byte("dodo")})
			errors.As(err, &got)
			return remote(err, "unknown_article")
		})

		d.reply(d.asked(1)[0], "", HeaderError, "unknown_article", HeaderErrorMessage, "there are no dodos")

		w.Within(time.Second, asked.Done())
		w.Claim(asked.Returned(nil), a.nobodyWaits(), harness.Reported(func() error {
			if got == nil || got.Message != "there are no dodos" {
				return fmt.Errorf("the reply's message is %q; the caller's error is %+v", "there are no dodos", got)
			}
			return nil
		}))
	})
}

// A reply that cannot be read is a bug of somebody's. Asking again does not help, and the other side did not say no.
func TestStep04_AReplyThatCannotBeReadIsADecodingError(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		type price struct{ Cents int }
		asked := w.Call("price request", 3, func(ctx context.Context, i int) error {
			got, err := AskJSON[price](ctx, a.Requester, Request{Value: fmt.Append(nil, i)})
			var e *RemoteError
			switch {
			case unwritten(err):
				return err
			case i == 0 && (err != nil || got.Cents != 995):
				return harness.Broke[harness.Misrouted]("", `the reply was {"Cents":995}; the caller was told %+v, %v`, got, err)
			case i == 1 && (!errors.Is(err, ErrDecode) || errors.As(err, &e) || errors.Is(err, ErrTimeout)):
				return harness.Broke[harness.Misreported]("each kind of failure asks for something else to be done", "the reply was no JSON; the caller was told: %v", err)
			case i == 2:
				return remote(err, "unknown_article")
			}
			return nil
		})

		for _, r := range d.asked(3) {
			switch string(r.Value) {
			case "0":
				d.reply(r, `{"Cents":995}`)
			case "1":
				d.reply(r, `<price>9.95</price>`)
			case "2":
				d.reply(r, `not json`, HeaderError, "unknown_article")
			}
		}

		w.Within(time.Second, asked.Done())
		w.Claim(asked.Returned(nil), a.nobodyWaits())
	})
}

// It comes when its caller has gone. Somebody else waits by now, for something else.
func TestStep05_ALateReplyIsDroppedAndCounted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		hasty := w.Call("hasty request", 1, a.asks("book", 2*time.Second))
		late := d.asked(1)[0]
		w.Within(10*time.Second, hasty.Done())
		next := w.Call("next request", 1, a.asks("pen", 0))
		inTime := d.asked(2)[1]

		d.priceOf(late)
		w.Sleep(time.Second)
		d.priceOf(inTime)

		w.Within(time.Second, next.Done())
		w.Claim(hasty.Returned(ErrTimeout), next.Returned(nil), a.nobodyWaits(), a.counted("unawaited_replies=1 foreign_replies=0"))
	})
}

// A reply that belongs to nobody, or says nothing of whom it belongs to, disturbs nobody.
func TestStep05_WhatIsNoReplyToAnybodyIsDropped(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		d := newDesk(w)
		a := startShop(w, "shop", d.config())
		price := w.Call("price request", 1, a.asks("book", 0))
		request := d.asked(1)[0]

		d.replies.To(0, record("", "price of nothing"), record("", "price of a pen", HeaderCorrelationID, "somebody-else's"), record("", "", HeaderCorrelationID, ""))
		w.Sleep(time.Second)
		d.priceOf(request)

		w.Within(time.Second, price.Done())
		w.Claim(price.Returned(nil), a.counted("foreign_replies=3 unawaited_replies=0"))
	})
}
