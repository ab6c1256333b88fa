package httpfake

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

type kind uint8

const (
	answers kind = iota // carries the request out, if the status says so, and answers
	hangs               // neither
	forgets             // carries the request out and never answers
)

// Answer is what a partner says to a request. The zero Answer is 200 without a body.
type Answer struct {
	kind   kind
	status int
	header http.Header
	body   string
	after  time.Duration
}

// Status answers with a status code alone. From 300 on, the request is not carried out.
func Status(code int) Answer { return Answer{status: code} }

// OK carries the request out and answers 200 with a body.
func OK(body string) Answer { return Answer{status: http.StatusOK, body: body} }

// TooMany refuses with 429, and asks to be spared for that long by Retry-After.
func TooMany(retryAfter time.Duration) Answer {
	seconds := int((retryAfter + time.Second - 1) / time.Second)
	return Answer{status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {strconv.Itoa(seconds)}}}
}

// Hang neither carries the request out nor answers, until the caller gives up.
func Hang() Answer { return Answer{kind: hangs} }

// DoneButSilent carries the request out and does not answer: the caller cannot know, and must ask again with the same
// [KeyHeader].
func DoneButSilent() Answer { return Answer{kind: forgets} }

// After is the same answer, that much later. The request is carried out when it is answered.
func (a Answer) After(d time.Duration) Answer { a.after = d; return a }

func (a Answer) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

func (a Answer) carriesOut() bool {
	return a.kind == forgets || a.kind == answers && a.code() < http.StatusMultipleChoices
}

// said is what the same idempotency key gets when it comes again.
func (a Answer) said() Answer {
	a.kind, a.after = answers, 0
	return a
}

// life is one life of a partner's process.
type life struct {
	p       *Partner
	process *harness.Process
}

func (l *life) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer l.p.enter()()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller is gone
	}
	request := &Request{At: l.p.w.Now(), Route: r.Method + " " + r.URL.RequestURI(), Header: r.Header, Body: string(body)}
	answer, again := l.p.receive(request)
	if answer.after > 0 {
		select {
		case <-time.After(answer.after):
		case <-r.Context().Done():
			return
		}
	}
	if !again && l.p.carryOut(l.process, request, answer) != nil {
		return // the partner has crashed
	}
	if answer.kind != answers {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	l.p.mu.Lock()
	request.Status = answer.code()
	l.p.mu.Unlock()
	for name, values := range answer.header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.code())
	io.Copy(w, strings.NewReader(answer.body)) //nolint:errcheck // the caller may be gone
}
