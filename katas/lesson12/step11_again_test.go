package lesson12

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
	"github.com/kafka-katas/kafka-katas/ops"
)

// A repeat is the same delivery, byte for byte and by its id, so that the receiver recognises it; it is signed anew, so
// that the receiver does not take it for an old one.
func TestStep11_ARepeatIsTheSameDeliverySignedAnew(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, partners := telling(w, 1, "billing")
		billing := partners[0]
		billing.Always("POST", httpfake.Status(http.StatusInternalServerError))
		a := s.start("a")
		events := news(1)
		s.hooks.Produce(events...)
		w.Sleep(10 * time.Second)

		a.Crash()
		billing.Always("POST", httpfake.OK(""))
		s.start("b")
		w.Sleep(2 * time.Minute)

		w.Claim(sent(billing, 4), signed(w, billing), distinct(billing, 1), func(*harness.World) error {
			seen := map[string]string{}
			for _, r := range billing.Requests("") {
				seen[r.Body] = r.Header.Get("Webhook-Id")
			}
			if len(seen) > 1 {
				return harness.Broke[harness.Misrouted]("the receiver compares what it has with what it gets", "the repeats have different bodies: %v", seen)
			}
			return nil
		})
	})
}

// sent claims that at least n requests reached a partner.
//
//go:noinline
func sent(p *httpfake.Partner, n int) harness.Claim {
	return func(*harness.World) error {
		if got := len(p.Requests("")); got < n {
			return harness.Broke[harness.Stuck]("a partner that is not told never asks", "%s was sent %d requests; it should be at least %d", p.Name, got, n)
		}
		return nil
	}
}

// A timeout says that nobody knows. The key says that it is the same call, and the receiver does it once.
func TestStep11_ATimeoutAfterTheReceiverDidItLeadsToNoSecondEffect(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 1)
		shipping.Next("POST /shipments/o-1", httpfake.DoneButSilent(), httpfake.DoneButSilent())
		s.start("a")

		s.calls.Produce(shipment("o-1"), shipment("o-2"))

		w.Until(s.group.Drained(s.calls))
		w.Claim(shipping.Effects().Once("POST /shipments/o-1", "POST /shipments/o-2"), s.dead.Holds(), s.group.CommitSafe(s.calls))
	})
}

// So it is after a crash: the key does not live in memory. An event that has an id of its own lends it.
func TestStep11_ACrashAfterTheCallLeadsToNoSecondEffect(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 1)
		named := shipment("o-2")
		named.Headers = append(named.Headers, header("event-id", "e-77"))
		s.start("a").CrashAfter(harness.Exchange)
		s.calls.Produce(shipment("o-1"), named)
		w.Until(harness.Gone("a"))

		s.start("b")

		w.Until(s.group.Drained(s.calls))
		w.Claim(shipping.Effects().Once("POST /shipments/o-1", "POST /shipments/o-2"), sent(shipping, 3), keyed(shipping, "/shipments/o-2", "e-77"), s.group.CommitSafe(s.calls))
	})
}

//go:noinline
func keyed(p *httpfake.Partner, path, key string) harness.Claim {
	return func(*harness.World) error {
		for _, r := range p.Requests("POST " + path) {
			if got := r.Header.Get(httpfake.KeyHeader); got != key {
				return harness.Broke[harness.Misrouted]("the same event may come by another way: its own id is what the receiver knows", "%s was called with the Idempotency-Key %q; the event's id is %q", r.Route, got, key)
			}
		}
		return nil
	}
}

// A partner that is dead is its own misfortune.
func TestStep12_OneDeadPartnerHoldsUpNobody(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, partners := telling(w, 2, "dead", "hanging", "well")
		dead, hanging, well := partners[0], partners[1], partners[2]
		dead.Crash()
		hanging.Always("POST", httpfake.Hang())
		s.start("a")
		w.Sleep(5 * time.Second)

		events := news(20)
		s.hooks.Produce(events...)
		w.Within(5*time.Second, s.group.Drained(s.hooks))
		w.Sleep(5 * time.Second)
		w.Claim(toldAll(well, 20), distinct(well, 20))

		w.Sleep(10 * time.Minute)
		dead.Restart()
		hanging.Always("POST", httpfake.OK(""))
		w.Sleep(10 * time.Minute)
		w.Claim(toldAll(well, 20), s.group.CommitSafe(s.hooks))
	}, harness.Deadline(time.Hour))
}

// toldAll claims that a partner was told of n events, each once.
//
//go:noinline
func toldAll(p *httpfake.Partner, n int) harness.Claim {
	return func(*harness.World) error {
		got := bodies(p)
		different := slices.Compact(slices.Sorted(slices.Values(got)))
		switch {
		case len(different) < n:
			return harness.Broke[harness.Stuck]("a partner that is well pays for one that is not", "%s was told of %d events; it should be %d", p.Name, len(different), n)
		case len(got) > n:
			return harness.Broke[harness.Duplicated]("a partner that is told twice has to sort it out", "%s was told %d times of %d events", p.Name, len(got), n)
		}
		return nil
	}
}

// Each partner hears of a partition's events in their order: nothing overtakes what has to be repeated.
func TestStep12_NothingOvertakesARepeat(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, partners := telling(w, 1, "billing", "search")
		billing, search := partners[0], partners[1]
		unwell := httpfake.Status(http.StatusServiceUnavailable)
		billing.Next("POST", httpfake.OK(""), unwell, unwell, httpfake.OK(""), unwell)
		search.Next("POST", httpfake.OK("").After(3*time.Second), unwell)
		a := s.start("a")

		events := news(6)
		s.hooks.Produce(events[:4]...)
		w.Sleep(8 * time.Second)
		a.Stop()
		s.start("b")
		s.hooks.Produce(events[4:]...)
		w.Sleep(time.Minute)

		w.Claim(heard(billing, events...), heard(search, events...), s.group.CommitSafe(s.hooks))
	})
}

// A partner that fails again and again is left alone for a while; then one attempt shows whether it is back.
func TestStep12_APartnerThatFailsIsLeftAloneAndThenProbed(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, partners := telling(w, 4, "billing")
		billing := partners[0]
		billing.Always("POST", httpfake.Status(http.StatusInternalServerError))
		s.cfg.Webhooks.BreakAfter, s.cfg.Webhooks.DisableAfter = 3, 20
		a := s.start("a")
		w.Sleep(5 * time.Second)

		s.hooks.To(0, news(1)...)
		w.Sleep(4 * time.Second) // three attempts: at once, after 1 s and after 3 s
		for p := range int32(3) {
			s.hooks.To(p+1, news(2)...)
		}
		first := firstOf(billing)
		w.SleepUntil(first + 2*time.Minute + 10*time.Second)
		open := first + 3*time.Second
		w.Claim(harness.Times("attempts", billing.Times(""), first, first+time.Second, open, open+30*time.Second, open+60*time.Second, open+90*time.Second, open+120*time.Second),
			a.endpoint(EndpointStatus{Name: "billing", Open: true, Failures: 7, Pending: 7}))
		billing.Always("POST", httpfake.OK(""))

		w.SleepUntil(first + 2*time.Minute + 40*time.Second)
		w.Claim(delivered(billing, 7), a.endpoint(EndpointStatus{Name: "billing"}))
	})
}

// delivered claims how many deliveries a partner has taken.
//
//go:noinline
func delivered(p *httpfake.Partner, n int) harness.Claim {
	return func(*harness.World) error {
		if got := len(bodies(p)); got < n {
			return harness.Broke[harness.Stuck]("a partner that is back wants to hear what it has missed", "%s has taken %d deliveries; it should be %d", p.Name, got, n)
		} else if got > n {
			return harness.Broke[harness.Duplicated]("a partner that is told twice has to sort it out", "%s has taken %d deliveries; it should be %d", p.Name, got, n)
		}
		return nil
	}
}

// One that does not come back is disabled until somebody enables it. Nothing is lost meanwhile, and a restart does not
// forget it.
func TestStep12_ADisabledPartnerIsToldWhenItIsEnabled(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, partners := telling(w, 1, "billing", "search")
		billing := partners[0]
		billing.Always("POST", httpfake.Status(http.StatusGone))
		s.cfg.Webhooks.BreakAfter, s.cfg.Webhooks.DisableAfter = 2, 4
		a := s.start("a")
		w.Sleep(5 * time.Second)
		events := news(5)
		s.hooks.Produce(events[:3]...)

		w.Sleep(3 * time.Minute)
		w.Claim(asked(billing, 4), a.endpoint(EndpointStatus{Name: "billing", Disabled: true, Pending: 3}), a.alerted("endpoint_disabled", ops.Firing), a.healthy(true, true))
		billing.Always("POST", httpfake.OK(""))
		a.Crash()
		b := s.start("b")
		s.hooks.Produce(events[3:]...)
		w.Sleep(3 * time.Minute)
		w.Claim(asked(billing, 4), b.endpoint(EndpointStatus{Name: "billing", Disabled: true, Pending: 5}), heard(partners[1], events...))
		w.Claim(enabled(b, "billing"))

		w.Sleep(5 * time.Second)
		w.Claim(heard(billing, events...), b.endpoint(EndpointStatus{Name: "billing"}))
	})
}

// asked claims that exactly n requests reached a partner.
//
//go:noinline
func asked(p *httpfake.Partner, n int) harness.Claim {
	return harness.All(p.AtMost(n, ""), sent(p, n))
}

// Enabled is as if nothing had failed, whoever of the members is asked; and only failures in a row count.
func TestStep12_APartnerThatIsEnabledBeginsAnew(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, partners := telling(w, 1, "billing")
		billing, bad, good := partners[0], httpfake.Status(http.StatusInternalServerError), httpfake.OK("")
		s.cfg.Webhooks.BreakAfter, s.cfg.Webhooks.DisableAfter = 2, 4
		a := s.start("a")
		w.Sleep(5 * time.Second)
		billing.Next("POST", bad, bad, bad, bad, bad, good, bad, good, bad, bad, bad, bad)
		events := news(3)
		s.hooks.Produce(events[:2]...)

		w.Sleep(65 * time.Second) // attempts at 0, 1, 31 and 61 s
		w.Claim(a.endpoint(EndpointStatus{Name: "billing", Disabled: true, Pending: 2}), enabled(a, "billing"))
		w.Sleep(5 * time.Second)
		w.Claim(heard(billing, events[:2]...), a.endpoint(EndpointStatus{Name: "billing"}))

		s.hooks.Produce(events[2:]...)
		b := s.start("b") // which has nothing to do
		w.Sleep(65 * time.Second)
		w.Claim(b.endpoint(EndpointStatus{Name: "billing", Disabled: true, Pending: 1}), enabled(b, "billing"))
		w.Sleep(s.cfg.Outbound.RetryCap + time.Second)
		w.Claim(heard(billing, events...))
	})
}

//go:noinline
func enabled(m *member, name string) harness.Claim {
	return harness.Reported(func() error {
		if err := m.Enable("nobody"); err == nil {
			return errors.New("an endpoint that does not exist is enabled without an error")
		}
		return m.Enable(name)
	})
}

// alerted claims where an alert stands.
//
//go:noinline
func (m *member) alerted(name string, want ops.AlertState) harness.Claim {
	return harness.Reported(func() error {
		for _, a := range m.Stats().Alerts {
			if a.Name == name && a.State == want {
				return nil
			} else if a.Name == name {
				return fmt.Errorf("the alert %s of %s is %v; it should be %v", name, m.Name, a.State, want)
			}
		}
		return fmt.Errorf("%s has no alert %s", m.Name, name)
	})
}
