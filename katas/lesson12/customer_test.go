package lesson12

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

// talk is one request of a customer and its response.
type talk struct {
	method, path, body string
	code               int
	header             http.Header
	from, to           time.Duration
}

// fields are those that a problem names.
func (e talk) fields() (out []string) {
	var p struct{ Fields []FieldProblem }
	json.Unmarshal([]byte(e.body), &p) //nolint:errcheck // then there are none
	for _, f := range p.Fields {
		out = append(out, f.Field)
	}
	return out
}

// ask sends a request to a member, as a customer does.
func (s *stage) ask(m *member, method, path, key, body string) talk {
	s.mu.Lock()
	customer := s.customer
	s.mu.Unlock()
	if customer == nil {
		s.Start("customer", func(p *harness.Process) (harness.Runner, error) {
			customer = httpfake.Client(p)
			return harness.RunFunc(func(ctx context.Context) error { <-ctx.Done(); customer.CloseIdleConnections(); return nil }), nil
		})
		s.mu.Lock()
		s.customer = customer
		s.mu.Unlock()
	}
	return s.send(m, customer, method, path, key, body)
}

func (s *stage) send(m *member, customer *http.Client, method, path, key, body string) talk {
	return s.sendFrom(m, customer, method, path, key, strings.NewReader(body), int64(len(body)))
}

func (s *stage) sendFrom(m *member, customer *http.Client, method, path, key string, body io.Reader, length int64) talk {
	e := talk{method: method, path: path, from: s.Now()}
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	target, err := (&url.URL{Scheme: "http", Host: m.address, Path: "/"}).Parse(path) // a Location may be a whole URL
	if err != nil {
		e.to, e.body = s.Now(), err.Error()
		return e
	}
	e.path = target.RequestURI()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		e.to, e.body = s.Now(), err.Error()
		return e
	}
	request.ContentLength = length
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := customer.Do(request)
	if err != nil {
		e.to, e.body = s.Now(), err.Error()
		return e
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	e.code, e.header, e.body, e.to = response.StatusCode, response.Header, string(text), s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exchanges = append(s.exchanges, e)
	return e
}

// answered claims what a request was answered with.
//
//go:noinline
func (e talk) answered(code int, fields ...string) harness.Claim {
	return func(*harness.World) error {
		if e.code != code {
			return harness.Broke[harness.Misreported]("a caller acts on the status alone", "%s %s was answered with %d (%s); it should be %d", e.method, e.path, e.code, strings.TrimSpace(e.body), code)
		}
		for _, f := range fields {
			if !strings.Contains(" "+strings.Join(e.fields(), " ")+" ", " "+f+" ") {
				return harness.Broke[harness.Misreported]("whoever sent it must know what to correct", "%s %s was refused without naming %s: %s", e.method, e.path, f, e.body)
			}
		}
		return nil
	}
}

// status is what a GET of a Location says.
func (s *stage) status(m *member, accepted talk) Status {
	var status Status
	e := s.ask(m, http.MethodGet, accepted.header.Get("Location"), "", "")
	json.Unmarshal([]byte(e.body), &status) //nolint:errcheck // then it is not what is wanted
	return status
}

//go:noinline
func (s *stage) found(m *member, accepted talk, want string, onHand int64) harness.Claim {
	return func(*harness.World) error {
		got := s.status(m, accepted)
		if got.Status != want {
			return harness.Broke[harness.Misreported]("a caller that polls the status acts on it", "the command of %s is %q; it should be %q", accepted.header.Get("Location"), got.Status, want)
		}
		if want != "pending" && (got.Event == nil || got.Event.OnHand != onHand || got.Event.CausationID != got.ID) {
			return harness.Broke[harness.Misreported]("a caller that polls the status acts on it", "the status of %s does not show the event: %+v", accepted.header.Get("Location"), got)
		}
		return nil
	}
}
