package harness

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

type faultKind uint8

const (
	faultFail faultKind = iota + 1
	faultLie
	faultLoseReply
	faultDelay
	faultSever
)

// Fault is one disturbance between a process and the cluster. It strikes once unless Times says otherwise.
type Fault struct {
	kind    faultKind
	request Request
	err     *kerr.Error
	delay   time.Duration
	left    int // how often it may still strike
	skip    int
}

// Fail makes the broker refuse a request with err, without doing any of it.
func Fail(r Request, err *kerr.Error) *Fault {
	return &Fault{kind: faultFail, request: r, err: err, left: 1}
}

// FailAfterwards makes the broker do a request and then answer with err: the ambiguous case, such as REQUEST_TIMED_OUT.
func FailAfterwards(r Request, err *kerr.Error) *Fault {
	return &Fault{kind: faultLie, request: r, err: err, left: 1}
}

// LoseReply lets the broker do a request, and breaks the connection before the reply arrives.
func LoseReply(r Request) *Fault { return &Fault{kind: faultLoseReply, request: r, left: 1} }

// Delay makes the reply to a request come that much later.
func Delay(r Request, d time.Duration) *Fault {
	return &Fault{kind: faultDelay, request: r, delay: d, left: 1}
}

// Sever breaks the connection before a request leaves the process.
func Sever(r Request) *Fault { return &Fault{kind: faultSever, request: r, left: 1} }

// Times makes the fault strike n times.
func (f *Fault) Times(n int) *Fault { f.left = n; return f }

// AfterThe makes the fault let n requests of its kind pass first.
func (f *Fault) AfterThe(n int) *Fault { f.skip = n; return f }

// String says what the fault does, for the timeline.
func (f *Fault) String() string {
	switch f.kind {
	case faultFail:
		return fmt.Sprintf("%v refused with %s", f.request, f.err.Message)
	case faultLie:
		return fmt.Sprintf("%v done, then answered %s", f.request, f.err.Message)
	case faultLoseReply:
		return fmt.Sprintf("reply to %v lost", f.request)
	case faultDelay:
		return fmt.Sprintf("reply to %v delayed by %v", f.request, f.delay)
	case faultSever:
		return fmt.Sprintf("connection cut before %v", f.request)
	}
	return "fault"
}

// Fault installs disturbances on everything that this process sends from now on, checked in the order installed.
func (p *Process) Fault(faults ...*Fault) *Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, faults...)
	return p
}

// ClearFaults removes all faults of the process.
func (p *Process) ClearFaults() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
}

// fault returns the fault that strikes this request, if any, and counts it.
func (p *life) fault(r Request) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	var strikes *Fault
	for _, f := range p.faults {
		switch {
		case f.request != r || f.left <= 0:
		case f.skip > 0:
			f.skip-- // it lets this one pass, whichever fault strikes it
		case strikes == nil:
			strikes = f
		}
	}
	if strikes != nil {
		strikes.left--
	}
	return strikes
}
