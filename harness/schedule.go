package harness

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// MoveKind is one kind of disturbance in a [Schedule].
type MoveKind string

// The disturbances that an exploration chooses from. "Who" is a member; one that does not run is started by Join and
// left alone by the others.
const (
	Join            MoveKind = "join"             // the member starts, or starts again
	Leave           MoveKind = "leave"            // it is asked to stop
	Crash           MoveKind = "crash"            // it crashes
	Isolate         MoveKind = "isolate"          // it loses its network for 20 s
	RefuseCommit    MoveKind = "refuse-commit"    // its next commit gets REBALANCE_IN_PROGRESS
	LoseCommit      MoveKind = "lose-commit"      // the reply to its next commit is lost
	DelayCommit     MoveKind = "delay-commit"     // the reply to its next commit comes 5 s late
	CutFetch        MoveKind = "cut-fetch"        // its connection breaks before the next fetch
	CutHeartbeat    MoveKind = "cut-heartbeat"    // its connection breaks before the next heartbeat
	MoveLeader      MoveKind = "move-leader"      // partition Who of each topic gets another leader
	MoveCoordinator MoveKind = "move-coordinator" // the group gets another coordinator
)

// AllMoves are all kinds of moves.
func AllMoves() []MoveKind {
	return []MoveKind{Join, Leave, Crash, Isolate, RefuseCommit, LoseCommit, DelayCommit, CutFetch, CutHeartbeat, MoveLeader, MoveCoordinator}
}

// Move is one disturbance at its time.
type Move struct {
	At   time.Duration
	Kind MoveKind
	Who  int // 1 is m1
}

// String is "crash m1@2.3s", which KATA_SCHEDULE reads back.
func (m Move) String() string { return fmt.Sprintf("%s m%d@%v", m.Kind, m.Who, m.At) }

// isolation is how long Isolate lasts.
const isolation = 20 * time.Second

// Schedule is what an exploration does to one telling of a story.
type Schedule struct {
	Moves   []Move
	members int
	w       *World

	victim string // of a sweep
	point  Point
}

func sorted(moves []Move) []Move {
	moves = slices.Clone(moves)
	slices.SortStableFunc(moves, func(a, b Move) int { return int(a.At - b.At) })
	return moves
}

// Play starts m1 and makes the schedule's moves at their times. Then it ends every disturbance, waits for members that
// were asked to stop, and sees to it that at least one member runs. start must start a member under the name it is given.
func (s *Schedule) Play(g *Group, topics []*Topic, start func(name string) *Process) {
	cast := make([]*Process, s.members+1)
	join := func(who int) {
		if p := cast[who]; p == nil || !p.Alive() {
			cast[who] = start(fmt.Sprintf("m%d", who))
		}
	}
	join(1)
	begin := s.w.Now()
	for _, m := range s.Moves {
		s.w.SleepUntil(begin + m.At)
		if m.Kind == Join {
			join(m.Who)
			continue
		}
		s.make(m, cast[m.Who], g, topics)
	}
	running := false
	for _, p := range cast {
		if p == nil {
			continue
		}
		p.Heal()
		p.ClearFaults()
		if (*life)(p).isStopping() {
			p.AwaitStop()
		}
		running = running || p.Alive()
	}
	if !running {
		join(1)
	}
}

func (s *Schedule) make(m Move, p *Process, g *Group, topics []*Topic) {
	switch m.Kind {
	case MoveLeader:
		for _, t := range topics {
			t.MoveLeader(int32(m.Who-1) % t.Partitions())
		}
		return
	case MoveCoordinator:
		s.w.Kafka().MoveCoordinator(g)
		return
	}
	if p == nil || !p.Alive() || (*life)(p).isStopping() {
		return
	}
	switch m.Kind {
	case Leave:
		p.AskToStop()
	case Crash:
		p.Crash()
	case Isolate:
		p.Isolate()
		time.AfterFunc(isolation, p.Heal)
	case RefuseCommit:
		p.Fault(Fail(OffsetCommit, kerr.RebalanceInProgress))
	case LoseCommit:
		p.Fault(LoseReply(OffsetCommit))
	case DelayCommit:
		p.Fault(Delay(OffsetCommit, 5*time.Second))
	case CutFetch:
		p.Fault(Sever(Fetch))
	case CutHeartbeat:
		p.Fault(Sever(Heartbeat), Sever(GroupHeartbeat))
	}
}

func (p *life) isStopping() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopping
}

// notes are the lines that a failure says of its schedule.
func (s *Schedule) notes() [][2]string {
	switch {
	case s.victim != "":
		return [][2]string{{"crash", fmt.Sprintf("%s, %v", s.victim, s.point)}}
	case len(s.Moves) > 0:
		return [][2]string{{"moves", s.text()}}
	}
	return nil
}

func (s *Schedule) text() string {
	var out []string
	for _, m := range s.Moves {
		out = append(out, m.String())
	}
	return strings.Join(out, ", ")
}

// again is the command that replays just this schedule.
func (s *Schedule) again(test, pkg string) string {
	command := againCommand(test, pkg, 0)
	switch {
	case s.victim != "":
		return fmt.Sprintf("KATA_POINT='%v' %s", s.point, command)
	case len(s.Moves) > 0:
		return fmt.Sprintf("KATA_SCHEDULE='%s' %s", s.text(), command)
	}
	return command
}

func parseMoves(text string) (moves []Move, err error) {
	for part := range strings.SplitSeq(text, ",") {
		kind, rest, _ := strings.Cut(strings.TrimSpace(part), " ")
		who, at, ok := strings.Cut(strings.TrimPrefix(rest, "m"), "@")
		m := Move{Kind: MoveKind(kind)}
		if m.Who, err = strconv.Atoi(who); err != nil || !ok || m.Who < 1 || !slices.Contains(AllMoves(), m.Kind) {
			return nil, fmt.Errorf("%q is no move such as 'crash m1@2.3s'; the kinds are %v", part, AllMoves())
		}
		if m.At, err = time.ParseDuration(at); err != nil {
			return nil, err
		}
		moves = append(moves, m)
	}
	return sorted(moves), nil
}

func parsePoint(text string) (Point, error) {
	words := strings.Fields(text)
	if len(words) == 3 {
		n, err := strconv.Atoi(words[2])
		p := Point{Nth: n}
		switch words[0] {
		case "before":
			p.When = Before
		case "after":
			p.When = After
		}
		for r := Exchange; r < 100; r++ {
			if r.String() == words[1] && err == nil && n > 0 && p.When != 0 {
				p.Request = r
				return p, nil
			}
		}
	}
	return Point{}, fmt.Errorf("%q is no point such as 'before OffsetCommit 3' or 'after handle 1'", text)
}
