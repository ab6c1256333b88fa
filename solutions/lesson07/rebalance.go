package lesson07

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// assigned begins the ownership of partitions. The client fetches none of them before it returns.
func (s *session) assigned(ctx context.Context, client *kgo.Client, added map[string][]int32) {
	c := s.Consumer
	member, _ := client.GroupMetadata()
	c.mu.Lock()
	if member != s.member && len(c.owned) > 0 {
		// The group expelled us and the client joined again by itself, under a new name. What it kept it did not
		// keep: others may have owned it in between, and committed further than we are.
		c.mu.Unlock()
		s.end(fmt.Errorf("%w: it was %s and is %s", errExpelled, s.member, member))
		return
	}
	s.member = member
	for topic, numbers := range added {
		for _, number := range numbers {
			s.arrivals = append(s.arrivals, topicPartition{topic, number})
		}
	}
	arrived := make(chan struct{})
	s.arrived = arrived
	s.interrupt()
	c.mu.Unlock()

	if s.cfg.Start == StartLatest && !s.looked() {
		if _, err := s.ends(ctx, client); err != nil {
			slog.Debug("partitions could not be counted yet", "group", s.cfg.Group, "error", err)
		}
	}
	select {
	case <-arrived:
	case <-s.ctx.Done():
	}
	s.link.joined()
	slog.Debug("assigned", "group", s.cfg.Group, "partitions", added)
}

// revoked gives partitions up. When it returns somebody else may own them.
func (s *session) revoked(_ context.Context, client *kgo.Client, gone map[string][]int32) {
	owned := s.those(gone)
	if len(owned) == 0 {
		return // also called at the end of every membership, with nothing
	}
	if member, _ := client.GroupMetadata(); member != s.name() {
		s.lost(s.base, client, gone) // given up under another name than it was owned under
		return
	}
	s.retire(owned, s.cfg.DrainTimeout, errRevoked)
	s.commitFinally(owned)
	s.forget(owned)
	slog.Debug("revoked", "group", s.cfg.Group, "partitions", gone)
}

// lost drops partitions that somebody else may own already. Committing them could only take that one's progress back.
func (s *session) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	owned := s.those(gone)
	s.retire(owned, 0, errLost)
	s.forget(owned)
	if len(owned) > 0 {
		slog.Warn("lost", "group", s.cfg.Group, "partitions", gone)
	}
}

// starting learns where the group stands on new partitions, and decides where to begin without a commit.
func (s *session) starting(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	var ends kadm.ListedOffsets
	if s.cfg.Start == StartLatest {
		var err error
		if ends, err = s.ends(ctx, s.client); err != nil {
			return nil, err // the client comes again
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, numbers := range offsets {
		for number, offset := range numbers {
			tp := topicPartition{topic, number}
			p := s.owned[tp]
			if p == nil {
				continue
			}
			p.placed = true
			switch at := offset.EpochOffset(); {
			case at.Offset >= 0:
				p.done, p.Committed, p.Position = at, at.Offset, at.Offset
			case s.cfg.Start == StartCommitted:
				s.end(fmt.Errorf("%w (group %q, %s)", ErrNoCommit, s.cfg.Group, tp)) // others are wound up in order
			case s.cfg.Start == StartLatest && int(number) >= s.existing[topic]:
				numbers[number] = kgo.NewOffset().AtStart() // added since: nothing in it is old
			case s.cfg.Start == StartLatest:
				end, ok := ends.Lookup(topic, number)
				if !ok || end.Err != nil {
					return nil, fmt.Errorf("the end of %s is not known: %w", tp, end.Err)
				}
				// From here on it is a position like any other, committed before anything is handled: a restart must
				// not jump over what arrives until then.
				numbers[number] = kgo.NewOffset().At(end.Offset)
				p.done, p.Position = kgo.EpochOffset{Epoch: -1, Offset: end.Offset}, end.Offset
				s.progressed()
			}
		}
	}
	return offsets, nil
}

// looked reports whether the partitions that there were at first have been counted.
func (s *session) looked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.existing != nil
}

// ends asks where the partitions end, and the first time counts them.
func (s *session) ends(ctx context.Context, client *kgo.Client) (kadm.ListedOffsets, error) {
	ctx, cancel := context.WithTimeout(ctx, s.commitTimeout())
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, s.cfg.Topics...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.existing == nil {
		s.existing = map[string]int{}
		ends.Each(func(end kadm.ListedOffset) {
			if end.Partition >= 0 {
				s.existing[end.Topic]++
			}
		})
	}
	return ends, nil
}

// endsEvery is how often the ends of partitions that are not fetched are asked for.
const endsEvery = 5 * time.Second

// watchEnds keeps the lag of paused partitions true: no fetch tells how it grows.
func (s *session) watchEnds() {
	for pause(s.ctx, endsEvery) {
		s.mu.Lock()
		blind := s.paused && len(s.owned) > 0
		for _, p := range s.owned {
			blind = blind || p.full || p.HighWatermark < 0
		}
		s.mu.Unlock()
		if !blind {
			continue
		}
		ends, err := s.ends(s.ctx, s.client)
		if err != nil {
			continue // readiness shows it
		}
		s.mu.Lock()
		for _, p := range s.owned {
			if end, ok := ends.Lookup(p.topic, p.partition); ok && end.Err == nil {
				p.HighWatermark = max(p.HighWatermark, end.Offset)
			}
		}
		s.mu.Unlock()
	}
}
