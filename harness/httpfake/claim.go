package httpfake

import (
	"fmt"

	"github.com/kafka-katas/kafka-katas/harness"
)

// AtMost claims that the partner was sent no more than n requests of a route.
func (p *Partner) AtMost(n int, route string) harness.Claim {
	return func(*harness.World) error {
		if got := len(p.Requests(route)); got > n {
			return harness.Broke[harness.Wasteful]("a partner pays for each question; those who ask the same at the same time can share one answer",
				"%s was sent %s%d times; %d would do", p.Name, said(route), got, n)
		}
		return nil
	}
}

// AtOnce claims that the partner never had more than n requests in work at the same time.
func (p *Partner) AtOnce(n int) harness.Claim {
	return func(*harness.World) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.most > n {
			return harness.Broke[harness.Overlapped]("what a partner can bear is its own limit, however many partitions and members there are",
				"%s had %d requests in work at the same time; it may be %d", p.Name, p.most, n)
		}
		return nil
	}
}

// Times are the moments at which the partner was sent requests of a route, for [harness.Times] and [harness.Due].
func (p *Partner) Times(route string) func() []harness.Event {
	return func() (events []harness.Event) {
		for _, r := range p.Requests(route) {
			events = append(events, harness.Event{Seq: -1, At: r.At, Process: p.Name, Kind: harness.Called, Text: r.Route})
		}
		return events
	}
}

func said(route string) string {
	if route == "" {
		return "requests "
	}
	return fmt.Sprintf("%s ", route)
}

// enter counts a request that is in work now.
func (p *Partner) enter() (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inWork++
	p.most = max(p.most, p.inWork)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.inWork--
	}
}
