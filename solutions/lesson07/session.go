package lesson07

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A session is one membership, from joining to leaving, with a client of its own.
type session struct {
	*Consumer
	ctx    context.Context // ends when the session has to
	end    context.CancelCauseFunc
	base   context.Context // outlives ctx: for what has to be finished
	client *kgo.Client
	link   *link

	polling     context.Context // ends to let arrivals in
	interrupt   context.CancelFunc
	arrivals    []topicPartition
	arrived     chan struct{} // closed when arrivals are owned
	member      string        // the name under which everything owned was assigned
	closed      bool          // workers go home
	uncommitted bool          // there is progress that the commit loop was told of
	progress    chan struct{}
	room        chan struct{} // a full partition has room again
	committing  chan struct{} // full while a commit is under way; a channel, since it lasts
}

func (c *Consumer) newSession(ctx context.Context) *session {
	s := &session{
		Consumer:   c,
		base:       context.WithoutCancel(ctx),
		link:       newLink(),
		progress:   make(chan struct{}, 1),
		room:       make(chan struct{}, 1),
		committing: make(chan struct{}, 1),
	}
	s.ctx, s.end = context.WithCancelCause(ctx)
	s.polling, s.interrupt = context.WithCancel(s.ctx)
	return s
}

// options are the user's, then what the consumer decides: the later one counts.
func (s *session) options() []kgo.Opt {
	cfg := s.cfg
	start := map[Start]kgo.Offset{
		StartEarliest:  kgo.NewOffset().AtStart(),
		StartLatest:    kgo.NewOffset().AtEnd(),
		StartCommitted: kgo.NewOffset().AtCommitted(),
	}
	opts := append(s.opts[:len(s.opts):len(s.opts)],
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(cfg.Topics...),
		kgo.ConsumeStartOffset(start[cfg.Start]),
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.HeartbeatInterval(cfg.HeartbeatInterval),
		kgo.RebalanceTimeout(cfg.RebalanceTimeout),
		kgo.MetadataMaxAge(cfg.MetadataMaxAge),
		kgo.MetadataMinAge(min(cfg.MetadataMaxAge, 5*time.Second)),
		kgo.WithHooks(s.link),
		// The client's own commits carry whatever membership it has when they leave. Ours carry the one under which
		// the work was done; see commit.
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),
		kgo.AdjustFetchOffsetsFn(s.starting),
	)
	switch cfg.Protocol {
	case ProtocolClassic:
		// Cooperative: what does not move goes on. Sticky: little moves. Range would give one member the first
		// partitions of every topic.
		opts = append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	case ProtocolConsumer:
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer())) // the broker's "uniform"
	}
	if cfg.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(cfg.InstanceID))
	}
	return opts
}

// run consumes until the session has to end, and says why; nil if it was asked to.
func (s *session) run() error {
	defer s.end(nil)
	cut, cancel := context.WithCancel(s.base)
	defer cancel()
	client, err := kgo.NewClient(append(s.options(), kgo.WithContext(cut))...)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if blocks, _ := client.OptValue(kgo.BlockRebalanceOnPoll).(bool); blocks {
		client.CloseAllowingRebalance()
		return errors.New("client options: BlockRebalanceOnPoll would keep a whole member waiting for one slow partition")
	}
	c := s.Consumer
	c.mu.Lock()
	s.client = client
	c.session = s
	if c.paused {
		client.PauseFetchTopics(c.cfg.Topics...)
	}
	c.mu.Unlock()

	var helpers sync.WaitGroup
	for range s.cfg.Concurrency {
		helpers.Go(s.work)
	}
	helpers.Go(s.commitRegularly)
	helpers.Go(s.watchLease)
	helpers.Go(s.watchEnds)
	s.poll()

	why := context.Cause(s.ctx)
	s.windUp(why)
	c.mu.Lock()
	c.session = nil
	s.closed = true
	c.toDo.Broadcast()
	c.mu.Unlock()
	helpers.Wait()
	s.leave(cut, cancel)
	for _, ours := range []error{errExpelled, errGaveUp, ErrFenced, ErrNoCommit} {
		if errors.Is(why, ours) {
			return why
		}
	}
	return nil // the caller ended it
}

// windUp brings the work to an end and commits it, unless it is not ours to commit any more.
func (s *session) windUp(why error) {
	owned := s.all()
	if errors.Is(why, errExpelled) || errors.Is(why, ErrFenced) {
		s.retire(owned, 0, errLost)
	} else {
		s.retire(owned, s.cfg.DrainTimeout, errStopping)
		s.commitFinally(owned)
	}
	s.forget(owned)
}

// leave says goodbye, so that the partitions move at once, and closes the client. A rebalance under way has to end
// first; a cluster out of reach is told by the session timeout as well.
func (s *session) leave(cut context.Context, cancel context.CancelFunc) {
	patience := s.cfg.DrainTimeout
	if s.link.down() != nil {
		patience = time.Second
	}
	ctx, done := context.WithTimeout(cut, patience)
	defer done()
	if err := s.client.LeaveGroupContext(ctx); err != nil {
		slog.Warn("could not leave the group, its session has to time out", "group", s.cfg.Group, "error", err)
	}
	if ctx.Err() != nil {
		cancel() // or Close would wait for a group that does not answer
	}
	s.client.Close()
}

// What a handler's context was cancelled for, and what ends a session.
var (
	errNotOwned = errors.New("the partition is owned no longer")
	errRevoked  = errors.New("the partition has to be given up and its drain timeout has passed")
	errLost     = errors.New("the partition was lost")
	errStopping = errors.New("the consumer stops and its drain timeout has passed")
	errExpelled = errors.New("the group may have expelled this member")
	errGaveUp   = errors.New("the client gave up on a partition")
)

func (s *session) all() []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.owned))
}

func (s *session) those(wanted map[string][]int32) []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*partition
	for topic, numbers := range wanted {
		for _, number := range numbers {
			if p := s.owned[topicPartition{topic, number}]; p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

func (s *session) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.member
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
