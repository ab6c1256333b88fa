// Package stacks reads goroutine dumps and says in one sentence why a program does not get on.
//
// It works on text alone, so that a dump of this process, of a child that died and of a golden file are the
// same to it:
//
//	mine := stacks.Within("katas", "solutions", dir)
//	a := stacks.Take()
//	time.Sleep(200 * time.Millisecond)
//	d := stacks.Stall(a, stacks.Take(), mine) // d.String(): who waits for whom, with file and line
//
// After synctest.Test has panicked with "blocked goroutines remain", take a dump where the panic is recovered:
//
//	for _, leak := range stacks.Leaks(stacks.Take(), mine) { … }
package stacks

import (
	"runtime"
	"strconv"
	"strings"
)

// A Frame is one call on a stack.
type Frame struct {
	Func string // with its import path: "example.org/shop/orders.(*Consumer).handle.func1"
	Args string // as printed, between the parentheses; "..." for an inlined call
	File string
	Line int
}

// A Goroutine is one goroutine of a dump.
type Goroutine struct {
	ID        int
	State     string // "chan receive", "sync.Mutex.Lock", "running", "IO wait" …; without "(durable)"
	Durable   bool   // it waits in a way that lets a bubble's time move on
	Minutes   int    // it has waited for that long
	Locked    bool   // it is locked to its thread
	Bubble    int    // the number of its synctest bubble, 0 outside
	Frames    []Frame
	CreatedBy Frame   // of the go statement; without a Func for the main goroutine
	Creator   int     // the goroutine that ran the go statement
	Ancestors []Frame // where the goroutines before it came from, nearest first; only under GODEBUG=tracebackancestors
}

// Take dumps the goroutines of this process: all, or the first thousands where there are very many. A program that
// starts them without end must not take all memory and time once more by being looked at.
func Take() []Goroutine {
	for size := 1 << 20; ; size *= 8 {
		if b := dump(size); len(b) < size || size > 8<<20 || runtime.NumGoroutine() > 10_000 {
			return Parse(b)
		}
	}
}

func dump(size int) []byte {
	b := make([]byte, size)
	return b[:runtime.Stack(b, true)]
}

// Parse reads the goroutines of a dump, as runtime.Stack or a crashing program prints them. Other lines around
// them are passed over, and so is what it does not understand.
func Parse(dump []byte) []Goroutine {
	var (
		out       []Goroutine
		g         *Goroutine
		pending   *Frame // a frame whose file has not been read yet
		created   bool   // pending is a "created by"
		ancestors bool
	)
	for line := range strings.Lines(string(dump)) {
		line = strings.TrimRight(line, "\r\n")
		if next, ok := parseHeader(line); ok {
			out = append(out, next)
			g, pending, ancestors = &out[len(out)-1], nil, false
			continue
		}
		switch {
		case g == nil:
		case line == "":
			g, pending = nil, nil
		case strings.HasPrefix(line, "[originating from goroutine "):
			ancestors, pending = true, nil
		case strings.HasPrefix(line, "\t"):
			if pending == nil {
				continue
			}
			pending.File, pending.Line = parsePlace(line)
			switch {
			case created && !ancestors:
				g.CreatedBy = *pending
			case created:
				// The creator's own frames follow, or the list was cut short on purpose.
			case ancestors:
				g.Ancestors = append(g.Ancestors, *pending)
			default:
				g.Frames = append(g.Frames, *pending)
			}
			pending = nil
		case strings.HasPrefix(line, "created by "):
			name, creator, _ := strings.Cut(line[len("created by "):], " in goroutine ")
			if !ancestors {
				g.Creator, _ = strconv.Atoi(creator)
			}
			pending, created = &Frame{Func: name}, true
		default:
			open := strings.LastIndexByte(line, '(')
			if open <= 0 || !strings.HasSuffix(line, ")") {
				pending = nil
				continue
			}
			pending, created = &Frame{Func: line[:open], Args: line[open+1 : len(line)-1]}, false
		}
	}
	return out
}

// parseHeader reads "goroutine 12 [chan receive (durable), 2 minutes, synctest bubble 1]:".
func parseHeader(line string) (g Goroutine, ok bool) {
	rest, ok := strings.CutPrefix(line, "goroutine ")
	if !ok {
		return g, false
	}
	head, rest, ok := strings.Cut(rest, " [")
	if !ok {
		return g, false
	}
	id, _, _ := strings.Cut(head, " ") // a fatal error adds gp=0x… m=0 mp=0x…
	n, err := strconv.Atoi(id)
	if err != nil {
		return g, false
	}
	if rest, ok = strings.CutSuffix(rest, ":"); !ok {
		return g, false
	}
	rest, _, _ = strings.Cut(rest, " labels:{")
	rest = strings.TrimSuffix(rest, "]")
	g.ID = n
	for i, part := range strings.Split(rest, ", ") {
		switch {
		case i == 0:
			part = strings.TrimSuffix(part, " (scan)")
			g.State, g.Durable = strings.CutSuffix(part, " (durable)")
		case strings.HasSuffix(part, " minutes"):
			g.Minutes, _ = strconv.Atoi(strings.TrimSuffix(part, " minutes"))
		case part == "locked to thread":
			g.Locked = true
		case strings.HasPrefix(part, "synctest bubble "):
			g.Bubble, _ = strconv.Atoi(part[len("synctest bubble "):])
		}
	}
	return g, true
}

// parsePlace reads "\t/dir/file.go:12 +0x1d".
func parsePlace(line string) (file string, n int) {
	line = strings.TrimSpace(line)
	if i := strings.LastIndex(line, " +0x"); i >= 0 {
		line = line[:i]
	}
	i := strings.LastIndexByte(line, ':')
	if i < 0 {
		return line, 0
	}
	n, _ = strconv.Atoi(line[i+1:])
	return line[:i], n
}
