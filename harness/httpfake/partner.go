package httpfake

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// KeyHeader is where a caller says which of its requests are one and the same.
const KeyHeader = "Idempotency-Key"

// Partner is somebody else's service: a process of its own on the story's network, so that it can be crashed, isolated
// and restarted. What it knows outlives that.
//
// Whatever it is asked, it answers 200 and carries it out, unless the method is GET or HEAD: an [harness.Effects] under
// its name, with a key such as "POST /charges/o-1". A request with a [KeyHeader] is carried out once; after that, the
// key gets the same answer again, or 422 when the route or the body is another one.
type Partner struct {
	*harness.Process
	URL string // such as "http://payments:80"

	w       *harness.World
	effects *harness.Effects

	mu       sync.Mutex
	script   map[string][]Answer // for the next requests of a route
	always   map[string]Answer   // for the others
	known    map[string]Request  // what was carried out, by idempotency key
	requests []*Request
	inWork   int // requests now
	most     int // and the most there ever were at the same time
}

// Request is what a partner was sent, and what it said to that.
type Request struct {
	At     time.Duration // since the story began
	Route  string        // "POST /charges/o-1"
	Header http.Header
	Body   string
	Status int // 0 if the partner has said nothing

	answer Answer
}

// Start opens a partner at an address of the story's network, such as "payments:80". Its process is called "payments".
func Start(w *harness.World, address string) *Partner {
	name, _, _ := strings.Cut(address, ":")
	p := &Partner{
		URL: "http://" + address, w: w, effects: w.Effects(name),
		script: map[string][]Answer{}, always: map[string]Answer{}, known: map[string]Request{},
	}
	p.Process = w.Start(name, func(process *harness.Process) (harness.Runner, error) {
		l, err := process.Listen(address)
		if err != nil {
			return nil, err
		}
		return harness.RunFunc(func(ctx context.Context) error {
			server := &http.Server{Handler: &life{p, process}, BaseContext: func(net.Listener) context.Context { return ctx }}
			defer context.AfterFunc(ctx, func() { server.Close() })()
			if err := server.Serve(l); ctx.Err() == nil {
				return err
			}
			return nil
		}), nil
	})
	return p
}

// Restart begins the partner's next life.
func (p *Partner) Restart() { p.Process = p.Process.Restart() }

// Effects are what the partner has carried out.
func (p *Partner) Effects() *harness.Effects { return p.effects }

// Next scripts the answers to the next requests of a route, in order. A route is a method and the beginning of a path,
// such as "POST /charges"; the longest one that fits a request is taken, and "" fits all.
func (p *Partner) Next(route string, answers ...Answer) *Partner {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script[route] = append(p.script[route], answers...)
	return p
}

// Always sets the answer to those requests of a route that no script is left for.
func (p *Partner) Always(route string, answer Answer) *Partner {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.always[route] = answer
	return p
}

// Requests are what the partner was sent so far of a route.
func (p *Partner) Requests(route string) (out []Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.requests {
		if strings.HasPrefix(r.Route, route) {
			out = append(out, *r)
		}
	}
	return out
}

// receive notes a request, and says what is to become of it.
func (p *Partner) receive(r *Request) (answer Answer, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r)
	answer = p.scripted(r.Route)
	before, again := p.known[r.Header.Get(KeyHeader)]
	switch {
	case !again || answer.kind != answers:
		return answer, false
	case before.Route != r.Route || before.Body != r.Body:
		return Status(http.StatusUnprocessableEntity), true
	}
	return before.answer, true
}

func (p *Partner) scripted(route string) Answer {
	best, found := "", false
	for r, left := range p.script {
		if len(left) > 0 && strings.HasPrefix(route, r) && (!found || len(r) > len(best)) {
			best, found = r, true
		}
	}
	if found {
		answer := p.script[best][0]
		p.script[best] = p.script[best][1:]
		return answer
	}
	answer := Answer{}
	for r, a := range p.always {
		if strings.HasPrefix(route, r) && (!found || len(r) > len(best)) {
			best, found, answer = r, true, a
		}
	}
	return answer
}

// carryOut does what a request asks, unless it asks for nothing or the partner refuses.
func (p *Partner) carryOut(process *harness.Process, r *Request, answer Answer) error {
	if !answer.carriesOut() || strings.HasPrefix(r.Route, "GET ") || strings.HasPrefix(r.Route, "HEAD ") {
		return nil
	}
	key := r.Header.Get(KeyHeader)
	if key == "" {
		return p.effects.Do(process, r.Route, nil)
	}
	p.mu.Lock()
	_, meanwhile := p.known[key]
	if !meanwhile {
		r.answer = answer.said()
		p.known[key] = *r
	}
	p.mu.Unlock()
	if meanwhile {
		return nil
	}
	return p.effects.Do(process, r.Route, nil)
}
