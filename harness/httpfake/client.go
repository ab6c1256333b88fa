package httpfake

import (
	"net/http"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Client is an HTTP client on the story's network for a process: what a program is given where it would have its own in
// production. Each request is journalled, and is a boundary at which the process can crash: before it leaves, and after
// the partner has answered it. It has no timeout.
func Client(p *harness.Process) *http.Client {
	return &http.Client{Transport: &transport{p, &http.Transport{DialContext: p.Dial}}}
}

type transport struct {
	p    *harness.Process
	next *http.Transport
}

func (t *transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	err = t.p.Exchange(r.Method+" "+r.URL.Host+r.URL.RequestURI(), func() (string, error) {
		if resp, err = t.next.RoundTrip(r); err != nil {
			return "", err
		}
		return resp.Status, nil
	})
	if err != nil && resp != nil {
		resp.Body.Close()
		resp = nil
	}
	return resp, err
}

// CloseIdleConnections lets http.Client.CloseIdleConnections through.
func (t *transport) CloseIdleConnections() { t.next.CloseIdleConnections() }
