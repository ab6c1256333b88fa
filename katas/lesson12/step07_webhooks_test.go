package lesson12

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
	"github.com/kafka-katas/kafka-katas/ops"
)

func news(n int) []*kgo.Record {
	var out []*kgo.Record
	for i := range n {
		out = append(out, &kgo.Record{Key: []byte(fmt.Sprintf("e-%d", i+1)), Value: []byte(fmt.Sprintf(`{"n":%d}`, i+1))})
	}
	return out
}

// bodies are what a partner was told successfully, in order.
func bodies(p *httpfake.Partner) (out []string) {
	for _, r := range p.Requests("POST /hooks") {
		if r.Status >= 200 && r.Status < 300 {
			out = append(out, r.Body)
		}
	}
	return out
}

// heard claims that a partner was told of these, in this order, each successfully and once.
//
//go:noinline
func heard(p *httpfake.Partner, want ...*kgo.Record) harness.Claim {
	return func(*harness.World) error {
		var wanted []string
		for _, r := range want {
			wanted = append(wanted, string(r.Value))
		}
		got := bodies(p)
		diff := cmp.Diff(wanted, got)
		sorted := func(list []string) []string { return slices.Sorted(slices.Values(list)) }
		switch {
		case diff == "":
			return nil
		case slices.Equal(sorted(got), sorted(wanted)):
			return harness.Broke[harness.Reordered]("a partner that hears of the end before the beginning acts on the wrong one last", "%s was told in another order (- should be, + is): %s", p.Name, diff)
		case len(got) > len(wanted):
			return harness.Broke[harness.Duplicated]("a partner that is told twice has to sort it out", "%s was told too often (- should be, + is): %s", p.Name, diff)
		}
		return harness.Broke[harness.Lost]("a partner that is not told never asks", "%s was not told of everything (- should be, + is): %s", p.Name, diff)
	}
}

// signature is what Sign is documented to return, written once more.
func signature(secret, id, timestamp, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id + "." + timestamp + "." + body))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signed claims that every request to a partner carries an id, the time at which it was sent and a signature that its
// secret makes.
//
//go:noinline
func signed(w *harness.World, p *httpfake.Partner) harness.Claim {
	return func(*harness.World) error {
		for _, r := range p.Requests("") {
			id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
			seconds, err := strconv.ParseInt(at, 10, 64)
			sent := w.At(time.Unix(seconds, 0))
			if id == "" || err != nil {
				return harness.Broke[harness.Misrouted]("the receiver cannot know who sent it, nor whether it is new", "%s was sent a webhook with the id %q and the timestamp %q", p.Name, id, at)
			}
			if sent > r.At || r.At-sent > 2*time.Second {
				return harness.Broke[harness.Mistimed]("a receiver refuses what is old: it may have been overheard", "%s was sent, at %v, a webhook with a timestamp of %v", p.Name, r.At, sent)
			}
			if want := signature(secretOf(p.Name), id, at, r.Body); r.Header.Get("Webhook-Signature") != want {
				return harness.Broke[harness.Misrouted]("a receiver that verifies refuses it", "%s was sent a webhook with the signature %q; it should be %q", p.Name, r.Header.Get("Webhook-Signature"), want)
			}
		}
		return nil
	}
}

// Every partner is told of every event, in order, and can verify who told it.
func TestStep07_EachPartnerIsToldAndCanVerifyIt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, partners := telling(w, 1, "billing", "search")
		events := news(5)
		s.hooks.Produce(events...)

		a := s.start("a")

		w.Until(s.group.Drained(s.hooks))
		w.Sleep(5 * time.Second)
		for _, p := range partners {
			w.Claim(heard(p, events...), signed(w, p), distinct(p, 5))
		}
		w.Claim(s.group.CommitSafe(s.hooks), s.bodiesClosed(), a.accounts(ops.Counts{Received: 5, Processed: 5}), a.extra("webhooks_delivered", 10))
	})
}

// distinct claims that a partner was sent deliveries under exactly n ids.
//
//go:noinline
func distinct(p *httpfake.Partner, n int) harness.Claim {
	return func(*harness.World) error {
		ids := map[string]string{}
		for _, r := range p.Requests("") {
			id := r.Header.Get("Webhook-Id")
			if before, known := ids[id]; known && before != r.Body {
				return harness.Broke[harness.Misrouted]("a receiver takes two deliveries with one id for one, and drops the second", "%s was sent %s and %s under the id %s", p.Name, before, r.Body, id)
			}
			ids[id] = r.Body
		}
		if len(ids) > n {
			return harness.Broke[harness.Duplicated]("a receiver recognises a repeat by its id alone", "%s was sent deliveries under %d ids; there were %d", p.Name, len(ids), n)
		}
		return nil
	}
}

// A partner that fails is told again, with growing waits, and nothing goes ahead of it.
func TestStep07_ADeliveryThatFailsIsRepeated(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, partners := telling(w, 1, "billing")
		billing := partners[0]
		billing.Next("POST", httpfake.Status(http.StatusInternalServerError), httpfake.Status(http.StatusNotFound), httpfake.Hang(), httpfake.OK(""), httpfake.Status(http.StatusInternalServerError))
		s.start("a")
		w.Sleep(5 * time.Second)

		events := news(2)
		s.hooks.Produce(events...)
		w.Sleep(time.Minute)

		first := firstOf(billing)
		w.Claim(heard(billing, events...), harness.Times("attempts", billing.Times(""), first, first+time.Second, first+3*time.Second, first+12*time.Second, first+12*time.Second, first+13*time.Second),
			signed(w, billing))
	})
}

// A partner that answers with a redirect is not followed, whatever holds for calls: nobody agreed with whoever is there.
func TestStep07_AWebhookGoesNowhereElse(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, partners := telling(w, 1, "depot")
		s.site("moved", http.RedirectHandler("http://depot.example/parcels", http.StatusTemporaryRedirect))
		s.cfg.Webhooks.Endpoints = append(s.cfg.Webhooks.Endpoints, Endpoint{"moved", "http://moved.example/hooks", secretOf("moved")})
		s.cfg.Calls.Redirects = FollowRedirects

		a := s.start("a")
		events := news(1)
		s.hooks.Produce(events...)

		w.Sleep(10 * time.Second)
		w.Claim(heard(partners[0], events...), partners[0].AtMost(0, "POST /parcels"), a.endpoint(EndpointStatus{Name: "depot"}))
	})
}

// Verify is what partners are given: it takes what is right and fresh, and nothing else.
func TestStep07_AVerifierTakesWhatIsSignedAndFresh(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		now := time.Unix(1_700_000_000, 0)
		const body = `{"n":1}`
		header := func(id string, at time.Time, signatures string) http.Header {
			return http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)}, "Webhook-Signature": {signatures}}
		}
		sign := func(secret, id string, at time.Time) string {
			return signature(secret, id, strconv.FormatInt(at.Unix(), 10), body)
		}
		right := sign("s", "d-1", now)

		for _, one := range []struct {
			what   string
			header http.Header
			body   string
			want   error
		}{
			{"a good one", header("d-1", now, right), body, nil},
			{"one with a second signature, of an older secret", header("d-1", now, sign("old", "d-1", now)+" "+right), body, nil},
			{"one that is as old as it may be", header("d-1", now.Add(-5*time.Minute), sign("s", "d-1", now.Add(-5*time.Minute))), body, nil},
			{"one of a clock that is ahead", header("d-1", now.Add(5*time.Minute), sign("s", "d-1", now.Add(5*time.Minute))), body, nil},
			{"one that is too old", header("d-1", now.Add(-5*time.Minute-time.Second), sign("s", "d-1", now.Add(-5*time.Minute-time.Second))), body, ErrTimestamp},
			{"one from the future", header("d-1", now.Add(6*time.Minute), sign("s", "d-1", now.Add(6*time.Minute))), body, ErrTimestamp},
			{"one with another timestamp than was signed", header("d-1", now.Add(time.Second), right), body, ErrSignature},
			{"one with another body", header("d-1", now, right), body + " ", ErrSignature},
			{"one with another id", header("d-2", now, right), body, ErrSignature},
			{"one with another secret", header("d-1", now, sign("t", "d-1", now)), body, ErrSignature},
			{"one with half a signature", header("d-1", now, right[:20]), body, ErrSignature},
			{"one without a signature", header("d-1", now, ""), body, ErrSignature},
			{"one without a timestamp", http.Header{"Webhook-Id": {"d-1"}, "Webhook-Signature": {right}}, body, ErrTimestamp},
		} {
			w.Claim(func(*harness.World) error {
				if err := Verify("s", one.header, []byte(one.body), now, 5*time.Minute); !errors.Is(err, one.want) {
					return harness.Broke[harness.Misreported]("a receiver that takes what it should not acts on what an attacker writes; one that does not take what it should hears nothing",
						"Verify says of %s: %v; it should say: %v", one.what, err, one.want)
				}
				return nil
			})
		}
		w.Claim(func(*harness.World) error {
			if got := Sign("s", "d-1", now, []byte(body)); got != right {
				return harness.Broke[harness.Misrouted]("a receiver that verifies refuses it", "Sign returns %q; it should be %q", got, right)
			}
			return nil
		})
	})
}
