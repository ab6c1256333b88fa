package lesson12

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kafka-katas/kafka-katas/harness"
)

// An address that is not public is refused, in whatever dress; a network that was allowed is not.
func TestStep22_OnlyPublicAddressesAreCalled(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		guard := Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}}
		for _, one := range []struct {
			addr   string
			public bool
		}{
			{"203.0.113.7", true}, {"8.8.8.8", true}, {"2606:4700::1111", true}, {"10.1.2.3", true}, {"::ffff:10.1.2.3", true}, {"fd00:1::7", true}, {"::ffff:8.8.8.8", true},
			{"172.32.0.1", true}, {"100.128.0.1", true}, {"169.253.0.1", true},
			{"127.0.0.1", false}, {"127.8.9.1", false}, {"::1", false}, {"::ffff:127.0.0.1", false}, {"0.0.0.0", false}, {"::", false},
			{"10.2.0.1", false}, {"172.16.0.1", false}, {"172.31.255.255", false}, {"192.168.1.1", false}, {"fd00:2::1", false}, {"fc00::1", false},
			{"169.254.169.254", false}, {"::ffff:169.254.169.254", false}, {"fe80::1%eth0", false}, {"100.64.0.1", false}, {"100.127.255.255", false},
			{"224.0.0.1", false}, {"ff02::1", false}, {"255.255.255.255", false}, {"::ffff:192.168.1.1", false}, {"64:ff9b::a9fe:a9fe", false},
			{"::7f00:1", false}, {"2002:7f00:1::", false}, {"2001:0:7f00:1::", false}, {"fec0::1", false},
		} {
			w.Claim(func(*harness.World) error {
				err := guard.Check(netip.MustParseAddr(one.addr))
				if one.public && err != nil {
					return harness.Broke[harness.Stuck]("partners that may be called are not", "Check refuses %s: %v", one.addr, err)
				}
				if !one.public && !errors.Is(err, ErrRefused) {
					return harness.Broke[harness.Misrouted]("whoever may name an address reads the shop's own network by it: metadata, admin ports, databases", "Check says of %s: %v; it should be ErrRefused", one.addr, err)
				}
				return nil
			})
		}
	})
}

// The guard judges what a name leads to, and connects to what it has judged: a second look at the name may find
// something else.
func TestStep22_TheAddressThatWasJudgedIsTheOneThatIsCalled(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		for _, one := range []struct {
			what    string
			answers [][]string
			dialled []string
		}{
			{"a name that leads outside", [][]string{{"203.0.113.7"}}, []string{"203.0.113.7:443"}},
			{"a name that leads inside", [][]string{{"10.0.0.1"}}, nil},
			{"a name that leads to both", [][]string{{"203.0.113.7", "127.0.0.1"}}, nil},
			{"a name that leads inside at the second look", [][]string{{"203.0.113.7"}, {"169.254.169.254"}}, []string{"203.0.113.7:443"}},
			{"a name that leads nowhere", [][]string{{}}, nil},
		} {
			calls := dialled(one.answers, "partner.example:443")
			w.Claim(func(*harness.World) error {
				if diff := cmp.Diff(one.dialled, calls); diff != "" {
					return harness.Broke[harness.Misrouted]("whoever controls a name controls where the call goes", "%s: connections go elsewhere (- should be, + is): %s", one.what, diff)
				}
				return nil
			})
		}
		w.Claim(func(*harness.World) error {
			if calls := dialled(nil, "127.0.0.1:80"); calls != nil {
				return harness.Broke[harness.Misrouted]("an address needs no name", "127.0.0.1 was called: %v", calls)
			}
			return nil
		})
	})
}

// The service's own calls go by the guard: an event is dead-lettered, and an endpoint disabled. What is allowed is
// called.
func TestStep22_TheServiceCallsNoPrivateAddressUnlessAllowed(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		harness.Run(t, func(w *harness.World) {
			s, shipping := calling(w, 1)
			billing := s.partner("billing")
			s.hooks = w.Topic("shop-events", 1)
			s.cfg.Webhooks.Topic, s.cfg.Webhooks.Endpoints = s.hooks.Name, []Endpoint{{"billing", "http://billing.example/hooks", secretOf("billing")}}
			s.moveTo("shipping", "10.0.0.5")
			s.moveTo("billing", "10.0.0.6")
			if allowed {
				s.cfg.Outbound.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
			}

			a := s.start("a")
			s.calls.Produce(shipment("o-1"))
			s.hooks.Produce(news(1)...)
			w.Within(time.Minute, s.group.Drained(s.calls, s.hooks))
			w.Sleep(5 * time.Second)

			if allowed {
				w.Claim(shipping.Effects().Once("POST /shipments/o-1"), s.dead.Holds(), heard(billing, news(1)...))
				return
			}
			w.Claim(asked(shipping, 0), asked(billing, 0), s.dead.Holds(shipment("o-1")), a.endpoint(EndpointStatus{Name: "billing", Disabled: true, Pending: 1}))
		})
	}
}

// Nor does a redirect lead there: the guard judges each address that is called, not the one that was configured.
func TestStep22_ARedirectIsJudgedAsWell(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, metadata := calling(w, 1)
		s.moveTo("shipping", "169.254.169.254")
		s.site("moved", http.RedirectHandler("http://shipping.example/latest", http.StatusTemporaryRedirect))
		s.cfg.Calls.URL, s.cfg.Calls.Redirects = "http://moved.example/shipments", FollowRedirects

		s.start("a")
		s.calls.Produce(shipment("o-1"))

		w.Within(time.Minute, s.group.Drained(s.calls))
		w.Claim(asked(metadata, 0), s.dead.Holds(shipment("o-1")))
	})
}
