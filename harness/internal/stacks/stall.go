package stacks

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is a class of reasons why a program does not get on.
type Kind string

// The kinds of diagnoses.
const (
	Mutex      Kind = "mutex"      // a goroutine waits for a sync.Mutex or RWMutex
	Busy       Kind = "busy"       // a goroutine runs without ever waiting
	Network    Kind = "network"    // a real socket
	Stdin      Kind = "stdin"      // standard input
	Syscall    Kind = "syscall"    // another system call
	Outside    Kind = "outside"    // a channel or lock from outside the bubble
	Deadlock   Kind = "deadlock"   // every goroutine waits for another one
	Goroutines Kind = "goroutines" // too many goroutines
	Memory     Kind = "memory"     // too much memory
	Unknown    Kind = "unknown"
)

// A Diagnosis is why a program does not get on.
type Diagnosis struct {
	Kind     Kind
	Sentence string // who waits for what, with the learner's file and line; no full stop
	Why      string // what that does to virtual time and what to do instead, in one line
	At       Frame  // the learner's line it is about; zero if none was found
}

// String is the sentence.
func (d Diagnosis) String() string { return d.Sentence }

// Stall says why virtual time does not move, from two dumps a moment apart: only a goroutine that runs in both is
// taken for a busy one. Of several bubbles it looks at the newest, since those of earlier tests may have been
// given up; without any bubble it looks at all goroutines.
func Stall(a, b []Goroutine, mine func(file string) bool) Diagnosis {
	s := &stall{before: byID(a), gs: newest(b), mine: mine}
	for _, look := range []func() (Diagnosis, bool){s.stdin, s.network, s.mutex, s.busy, s.syscall, s.outside, s.deadlock} {
		if d, ok := look(); ok {
			return d
		}
	}
	return s.unknown()
}

// Stuck tells whether nothing in the newest bubble can go on by itself: no goroutine runs or may run, all are
// where they were in the earlier dump, and at least one of them waits in a way that holds virtual time. A system
// call may just take its time, on a slow disk for one; only a read of standard input never ends.
func Stuck(a, b []Goroutine) bool {
	before := byID(a)
	held := false
	gs := newest(b)
	for _, g := range gs {
		old, ok := before[g.ID]
		if g.Bubble == 0 || !ok || running(g) || g.State == "syscall" && !readsStdin(g) || old.State != g.State || len(old.Frames) == 0 || !slices.Equal(old.Frames, g.Frames) {
			return false
		}
		held = held || !g.Durable
	}
	return held
}

// Moves tells whether the newest bubble gets on, however slowly: a goroutine of it runs or may run, or is not where it
// was in the earlier dump.
func Moves(a, b []Goroutine) bool {
	before := byID(a)
	for _, g := range newest(b) {
		old, ok := before[g.ID]
		if !ok || running(g) || old.State != g.State || !slices.Equal(old.Frames, g.Frames) {
			return true
		}
	}
	return false
}

type stall struct {
	before map[int]Goroutine
	gs     []Goroutine // of the bubble
	mine   func(string) bool
}

func byID(gs []Goroutine) map[int]Goroutine {
	m := make(map[int]Goroutine, len(gs))
	for _, g := range gs {
		m[g.ID] = g
	}
	return m
}

func newest(gs []Goroutine) []Goroutine {
	bubble := 0
	for _, g := range gs {
		bubble = max(bubble, g.Bubble)
	}
	if bubble == 0 {
		return gs
	}
	var out []Goroutine
	for _, g := range gs {
		if g.Bubble == bubble {
			out = append(out, g)
		}
	}
	return out
}

// who names a goroutine by the learner's code in it, and else by where the learner's code started it.
func (s *stall) who(g Goroutine) (subject string, at Frame) {
	if f, ok := g.mineOf(s.mine); ok {
		return capital(f.Name(false)) + " (" + f.Place() + ")", f
	}
	if f, ok := g.originOf(s.mine); ok {
		return "What " + f.Name(false) + " started at " + f.Place(), f
	}
	if len(g.Frames) > 0 {
		outer := g.Frames[len(g.Frames)-1]
		return capital(outer.Name(true)) + " (" + outer.Place() + ")", Frame{}
	}
	return fmt.Sprintf("Goroutine %d", g.ID), Frame{}
}

func capital(s string) string {
	if strings.HasPrefix(s, "a function") {
		return "A" + s[1:]
	}
	return s
}

func middle(s string) string {
	if strings.HasPrefix(s, "A function") || strings.HasPrefix(s, "What ") {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// prefer picks the goroutine to talk about: one with the learner's code on its stack, then one that it started.
func (s *stall) prefer(match func(Goroutine) bool) (Goroutine, bool) {
	var best Goroutine
	score := 0
	for _, g := range s.gs {
		if !match(g) {
			continue
		}
		n := 1
		if _, ok := g.mineOf(s.mine); ok {
			n = 3
		} else if _, ok := g.originOf(s.mine); ok {
			n = 2
		}
		if n > score {
			best, score = g, n
		}
	}
	return best, score > 0
}

func (s *stall) stdin() (Diagnosis, bool) {
	g, ok := s.prefer(readsStdin)
	if !ok {
		return Diagnosis{}, false
	}
	who, at := s.who(g)
	return Diagnosis{Stdin, who + " waits for standard input", "no one types in a test; take input from a topic, the configuration or a parameter", at}, true
}

// readsStdin tells a read from the descriptor 0, where the dump shows it, and else a read that does not end: files
// do not make a reader wait.
func readsStdin(g Goroutine) bool {
	if g.State != "syscall" && g.State != "IO wait" || !g.has("os.(*File).Read", "os.(*File).read") {
		return false
	}
	for _, f := range g.Frames {
		if f.Func == "syscall.Syscall" || f.Func == "syscall.syscall" {
			args := strings.Split(f.Args, ", ")
			return len(args) > 1 && strings.TrimSuffix(args[1], "?") == "0x0"
		}
	}
	return true
}

func (s *stall) network() (Diagnosis, bool) {
	g, ok := s.prefer(func(g Goroutine) bool {
		return !g.Durable && g.has("net.") && !g.has("net.(*pipe)") // a story's own network is made of pipes
	})
	if !ok {
		return Diagnosis{}, false
	}
	who, at := s.who(g)
	dial := g.has("net.(*Dialer).Dial", "net.Dial", "net.(*sysDialer)", "net.(*Resolver)")
	const why = "a story has a network of its own, and virtual time stands still while anyone waits on a real one"
	switch {
	case ofClient(g):
		at, ok := s.client(g)
		sentence := "a kgo client uses the real network"
		if ok {
			sentence += " (created in " + at.Name(false) + " at " + at.Place() + ")"
		}
		return Diagnosis{Network, sentence + ": it was not created with the options it was given", why, at}, true
	case dial:
		return Diagnosis{Network, who + " dials a real address", why, at}, true
	case g.has("net.(*TCPListener).Accept", "net.(*UnixListener).Accept", "net.(*netFD).accept"):
		return Diagnosis{Network, who + " listens on a real port", why, at}, true
	}
	return Diagnosis{Network, who + " waits on a real network connection", why, at}, true
}

// client is where the client was created whose goroutine g is.
func (s *stall) client(g Goroutine) (Frame, bool) {
	at, ok := g.originOf(s.mine)
	return at.near("New"), ok
}

// callee is the call that the learner's line makes.
func callee(g Goroutine, at Frame) (Frame, bool) {
	if i := slices.Index(g.Frames, at); i > 0 && at.Func != "" {
		return g.Frames[i-1], true
	}
	return Frame{}, false
}

func (s *stall) syscall() (Diagnosis, bool) {
	g, ok := s.prefer(func(g Goroutine) bool { return g.State == "syscall" || g.State == "IO wait" })
	if !ok {
		return Diagnosis{}, false
	}
	who, at := s.who(g)
	what := "a system call"
	if f, ok := callee(g, at); ok {
		what = f.Name(true)
	}
	return Diagnosis{Syscall, who + " waits in " + what, "virtual time stands still while a goroutine waits for the operating system", at}, true
}

func (s *stall) outside() (Diagnosis, bool) {
	g, ok := s.prefer(func(g Goroutine) bool { return g.Bubble != 0 && !g.Durable && !running(g) })
	if !ok {
		return Diagnosis{}, false
	}
	who, at := s.who(g)
	return Diagnosis{Outside, who + " " + waits(g) + " that comes from outside the story",
		"virtual time stands still then: make channels, timers and groups in the code that the story starts, not in package variables", at}, true
}

// deadlock: every goroutine of the bubble waits, none for time to pass.
func (s *stall) deadlock() (Diagnosis, bool) {
	var lines []string
	var at Frame
	for _, g := range s.gs {
		if g.Bubble == 0 || running(g) || g.State == "sleep" {
			return Diagnosis{}, false
		}
		f, ok := g.mineOf(s.mine)
		if !ok {
			continue
		}
		line := f.Name(false) + " " + waits(g) + " at " + f.Place()
		if len(lines) == 0 {
			at = f
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if len(s.gs) == 0 || len(lines) == 0 {
		return Diagnosis{}, false
	}
	if more := len(lines) - 3; more > 0 {
		lines = append(lines[:3], fmt.Sprintf("and %d more", more))
	}
	return Diagnosis{Deadlock, strings.Join(lines, "; "), "every goroutine waits for another one, so that no one ever goes on", at}, true
}

func (s *stall) unknown() Diagnosis {
	g, ok := s.prefer(func(g Goroutine) bool { return !infrastructure(g) })
	const why = "the story does not come to an end: it asks for much computing, or repeats something without end"
	if !ok {
		return Diagnosis{Unknown, "nothing of the program under test runs, and yet the story does not end", why, Frame{}}
	}
	who, at := s.who(g)
	return Diagnosis{Unknown, "the story goes on and on; last seen: " + middle(who) + " " + doing(g), why, at}
}
