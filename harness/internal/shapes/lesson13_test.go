package shapes

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// While replies come in, their partition gets another leader and then loses it: every caller still has its own reply
// within its deadline. A caller whom nobody answers is told so at its deadline. Neither leaves anything behind.
func TestLesson13_CallersGetTheirRepliesWhateverBecomesOfTheBrokers(t *testing.T) {
	harness.Run(t, pricesAreAsked(asItShould))
}

func TestLesson13_AnEntryLeftAtTheTimeoutIsCaught(t *testing.T) {
	harness.Run(t, pricesAreAsked(entryStays), harness.Red("LEAKED"))
}

func TestLesson13_AGoroutineLeftAtTheTimeoutIsCaught(t *testing.T) {
	harness.Run(t, pricesAreAsked(goroutineStays), harness.Red("LEAKED"))
}

func TestLesson13_RepliesHandedOutInTurnAreCaught(t *testing.T) {
	harness.Run(t, pricesAreAsked(repliesInTurn), harness.Red("MISROUTED"))
}

func pricesAreAsked(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		requests, replies := w.Topic("price-requests", 3), w.Topic("price-replies", 2)
		w.Start("pricing", priceResponder(w.Group("pricing"), requests))
		shop := startRequester(w, "shop", requests, replies, mistake)
		idle := w.NoMoreGoroutines()

		unknown := w.Call("unanswerable request", 5, shop.asks("dodo", 20*time.Second))
		w.Sleep(time.Second)
		priced := w.Call("price request", 100, shop.asks("book", 30*time.Second))
		replies.MoveLeader(shop.partition)
		w.Sleep(2 * time.Second)
		leader := replies.Leader(shop.partition)
		w.Kafka().StopBroker(leader)
		w.Sleep(2 * time.Second)
		w.Kafka().StartBroker(leader)

		w.Until(harness.All(priced.Done(), unknown.Done()))

		w.Claim(unknown.Returned(context.DeadlineExceeded), unknown.Took(20*time.Second))
		w.Claim(priced.Returned(nil), priced.Within(30*time.Second), shop.waitsForNothing(), idle)
	}
}

// shop is a process with a requester in it.
type shop struct {
	*harness.Process
	*requester
}

func startRequester(w *harness.World, name string, requests, replies *harness.Topic, mistake string) *shop {
	s := &shop{}
	s.Process = w.Start(name, func(p *harness.Process) (_ harness.Runner, err error) {
		s.requester, err = newRequester(requests.Name, replies.Name, 1, mistake, p.Options()...)
		return s.requester, err
	})
	return s
}

// asks is a caller who wants the price of a numbered thing, and no other.
func (s *shop) asks(what string, deadline time.Duration) func(context.Context, int) error {
	return func(ctx context.Context, i int) error {
		ctx, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		thing := fmt.Sprintf("%s-%d", what, i)
		price, err := s.Ask(ctx, thing)
		if want := "price of " + thing; err == nil && price != want {
			return harness.Broke[harness.Misrouted]("a reply belongs to whoever asked for it", "who asked for %s was told the %q", thing, price)
		}
		return err
	}
}

func (s *shop) waitsForNothing() harness.Claim {
	return func(*harness.World) error {
		if n := s.Waiting(); n > 0 {
			return harness.Broke[harness.Leaked]("an entry for each request that nobody answers is a slow way to run out of memory",
				"%s still waits for %d replies; nobody does", s.Name, n)
		}
		return nil
	}
}
