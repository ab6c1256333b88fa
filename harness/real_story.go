package harness

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// playReal tells a story on a real cluster in real time. No watchdog looks on: a clock that everybody shares never
// stands still.
func (s *spec) playReal(o options, brokers []string, story func(*World), schedule *Schedule) outcome {
	limit := realLimit()
	switch {
	case o.fakeOnly != "":
		return outcome{skip: "not told on a real cluster: " + o.fakeOnly}
	case o.lasts > limit:
		return outcome{skip: fmt.Sprintf("not told on a real cluster: the story lasts %v, longer than %v (KATA_REAL_LIMIT)", o.lasts, limit)}
	}
	o.deadline = min(o.deadline, limit+realSlack)
	end, ends := s.t.Deadline()
	if ends {
		end = end.Add(-toCleanUp)
		o.deadline = min(o.deadline, time.Until(end))
	}
	tooLate := func() bool { return ends && time.Until(end) < toCleanUp }
	if tooLate() {
		return outcome{err: errTooLate}
	}
	backend, err := newReal(brokers, s.t.Logf)
	if err != nil {
		return outcome{err: fmt.Errorf("no Kafka at KAFKA_BROKERS=%s: %w", strings.Join(brokers, ","), err)}
	}
	s.t.Attr("cluster", backend.version())
	if o.tls == nil {
		o.tls = backend.login.TLS
	}
	o.login = backend.login.SASL
	w := newWorld(s.t, o, backend)
	w.schedule, w.mine = schedule, s.mine
	w.play(story)
	out := w.outcome()
	if out.err != nil && w.Now() >= o.deadline && tooLate() {
		out.err = errTooLate
	}
	return out
}

// toCleanUp is kept back of the time that go test gives a run, so that it ends with verdicts and leaves nothing behind.
const toCleanUp = 20 * time.Second

// errTooLate is no verdict on a program, but neither may a story that was not told to its end pass for green.
var errTooLate = fmt.Errorf("the time that go test gives a run is over, and in real time stories take theirs: add -timeout 1h")

// realLimit is how long a story may last to be told on a real cluster: KATA_REAL_LIMIT, or five minutes.
func realLimit() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("KATA_REAL_LIMIT")); err == nil {
		return d
	}
	return 5 * time.Minute
}
