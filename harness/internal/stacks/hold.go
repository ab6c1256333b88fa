package stacks

import "strings"

// mutex finds who waits for a mutex and who seems to hold it. The runtime does not record a mutex's holder; the
// guess is a goroutine that is inside code of the same type or function and waits for something else.
func (s *stall) mutex() (Diagnosis, bool) {
	g, ok := s.prefer(waitsForMutex)
	if !ok {
		return Diagnosis{}, false
	}
	who, at := s.who(g)
	what := strings.TrimSuffix(strings.TrimSuffix(g.State, ".RLock"), ".Lock")
	sentence := who + " waits for a " + what
	const why = "virtual time stands still while a goroutine waits for a mutex: let it go before you sleep, call Kafka or send on a channel"
	if holder, f, ok := s.holder(g); ok {
		switch {
		case holder.ID == g.ID:
			return Diagnosis{Mutex, sentence + ", which " + f.Name(false) + " (" + f.Place() + ") on the same goroutine seems to hold already",
				"a Go mutex is not reentrant: a method that holds it must not call one that locks it", at}, true
		case waitsForMutex(holder):
			return Diagnosis{Mutex, sentence + "; " + f.Name(false) + " (" + f.Place() + ") waits for one as well",
				"two goroutines that take the same mutexes in different orders wait for each other: always take them in one order", at}, true
		case running(holder):
			return Diagnosis{Mutex, sentence + "; " + f.Name(false) + " (" + f.Place() + ") seems to hold it and runs on and on", why, at}, true
		}
		return Diagnosis{Mutex, sentence + "; " + f.Name(false) + " (" + f.Place() + ") seems to hold it and " + pauses(holder), why, at}, true
	}
	return Diagnosis{Mutex, sentence + " that no one lets go", "a mutex that is locked must be unlocked on every way out: defer the Unlock", at}, true
}

func waitsForMutex(g Goroutine) bool {
	return g.State == "sync.Mutex.Lock" || g.State == "sync.RWMutex.Lock" || g.State == "sync.RWMutex.RLock"
}

// pauses says what a holder does meanwhile, with the library call that it is in.
func pauses(g Goroutine) string {
	if f, ok := g.calls("github.com/twmb/franz-go/pkg/kgo.(*Client)."); ok {
		return "is in " + f.Name(true)
	}
	if f, ok := g.calls("net/http.(*Client)."); ok {
		return "is in " + f.Name(true)
	}
	return waits(g)
}

// holder is the likeliest holder of the mutex that g waits for, with its frame that gives it away.
func (s *stall) holder(g Goroutine) (holder Goroutine, at Frame, ok bool) {
	want, found := g.mineOf(s.mine)
	if !found {
		return Goroutine{}, Frame{}, false
	}
	best := 0
	for _, other := range s.gs {
		if infrastructure(other) {
			continue
		}
		for i, f := range other.Frames {
			if !s.mine(f.File) {
				continue
			}
			score := 0
			switch {
			case f.Func == want.Func:
				score = 30
			case f.owner() == want.owner():
				score = 20
			case f.File == want.File:
				score = 5
			}
			if score == 0 {
				continue
			}
			switch {
			case other.ID == g.ID:
				// The waiting frame itself proves nothing; a caller of the same type may hold the mutex.
				if f == want || score == 5 || sameCall(other.Frames[:i], f) {
					continue
				}
				score -= 14
			case waitsForMutex(other):
				if f.Line == want.Line && f.Func == want.Func {
					continue // it queues at the same lock
				}
				score -= 11
			case other.State == "select" || running(other):
				score -= 2 // a loop that waits for work is less suspicious than a sleep or a send
			}
			if score > best {
				holder, at, best = other, f, score
			}
		}
	}
	return holder, at, best > 0
}

// sameCall tells a literal's frame from the function that it stands in, such as a deferred call of it.
func sameCall(inner []Frame, f Frame) bool {
	for _, i := range inner {
		if strings.HasPrefix(i.Func, f.Func+".") {
			return true
		}
	}
	return false
}

// busy: a goroutine that runs in both dumps.
func (s *stall) busy() (Diagnosis, bool) {
	g, ok := s.prefer(func(g Goroutine) bool {
		old, seen := s.before[g.ID]
		return running(g) && seen && running(old) && !infrastructure(g)
	})
	if !ok {
		return Diagnosis{}, false
	}
	who, at := s.who(g)
	sentence := who + " runs without ever waiting"
	// A loop around calls that return at once is seen in the call; say so, as the line alone may not look busy.
	if f, ok := callee(g, at); ok {
		sentence += ", calling " + f.Name(true) + " again and again"
	}
	return Diagnosis{Busy, sentence, "a loop that never waits lets no time pass: check its way out, and the errors that its calls return", at}, true
}
