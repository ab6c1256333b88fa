package stacks

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Within returns a test for files of the learner's code: Go files, but no test files, under one of dirs. A dir is a
// directory, or a part of an import path ("katas"), which counts wherever it stands in the file's name: with -trimpath
// the names in a dump begin with the module, not with a directory.
func Within(dirs ...string) func(file string) bool {
	clean := make([]string, 0, len(dirs))
	for _, d := range dirs {
		if d = strings.Trim(filepath.ToSlash(d), "/"); d != "" {
			clean = append(clean, "/"+d+"/")
		}
	}
	return func(file string) bool {
		if strings.HasSuffix(file, "_test.go") {
			return false
		}
		file = "/" + strings.TrimPrefix(filepath.ToSlash(file), "/")
		for _, d := range clean {
			if strings.Contains(file, d) {
				return true
			}
		}
		return false
	}
}

// Place is the frame's position for a reader: "consume.go:42" for a file of the working directory, which under
// go test is the package's, and "kgo/client.go:42" for others.
func (f Frame) Place() string {
	if f.File == "" {
		return ""
	}
	if f.Line <= 1 {
		return short(f.File) // a loop of one instruction has no line of its own, and the compiler says 1
	}
	return fmt.Sprintf("%s:%d", short(f.File), f.Line)
}

func short(file string) string {
	file = filepath.ToSlash(file)
	dir, base := path.Split(file)
	dir = strings.TrimSuffix(dir, "/")
	wd, err := os.Getwd()
	if err == nil && (filepath.ToSlash(wd) == dir) {
		return base
	}
	parent := path.Base(dir)
	parent, _, _ = strings.Cut(parent, "@") // a module's version in the module cache
	if parent == "." || parent == "/" || parent == "" {
		return base
	}
	return parent + "/" + base
}

// Name is the function for a reader: "Consumer.handle", "a function in Consumer.handle", with the package
// ("kgo.NewClient") if qualified.
func (f Frame) Name(qualified bool) string {
	name := f.Func
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:]
	}
	pkg, name, ok := strings.Cut(name, ".")
	if !ok {
		return f.Func
	}
	name = strings.ReplaceAll(name, "[...]", "")
	name = strings.NewReplacer("(*", "", ")", "", "-fm", "").Replace(name)
	parts := strings.Split(name, ".")
	n := len(parts)
	for n > 1 && closure(parts[n-1]) {
		n--
	}
	inner := n < len(parts)
	name = strings.Join(parts[:n], ".")
	if qualified {
		name = pkg + "." + name
	}
	if inner {
		return "a function in " + name
	}
	return name
}

// closure tells the parts that the compiler adds for function literals: func1, 2, gowrap1, func1-range1.
func closure(part string) bool {
	part, _, _ = strings.Cut(part, "-range")
	for _, p := range []string{"func", "gowrap", "deferwrap"} {
		part = strings.TrimPrefix(part, p)
	}
	return strings.Trim(part, "0123456789") == ""
}

// owner is what a function belongs to: its receiver's type, or the function that a literal stands in.
func (f Frame) owner() string {
	slash := strings.LastIndexByte(f.Func, '/') + 1
	parts := strings.Split(f.Func[slash:], ".")
	if len(parts) < 2 {
		return f.Func
	}
	return f.Func[:slash] + parts[0] + "." + strings.TrimSuffix(parts[1], "[")
}

// near moves an ancestor's frame to the line of its call. What the runtime keeps of an ancestor is where the call
// returns to, which is often the line after it. Without the source the frame stays as it is.
func (f Frame) near(call string) Frame {
	src, err := os.ReadFile(f.File)
	if err != nil {
		return f
	}
	lines := strings.Split(string(src), "\n")
	for n := f.Line; n > 0 && n > f.Line-10 && n <= len(lines); n-- {
		if strings.Contains(lines[n-1], call) {
			f.Line = n
			break
		}
	}
	return f
}

// first is the innermost frame that keep accepts.
func first(frames []Frame, keep func(string) bool) (Frame, bool) {
	for _, f := range frames {
		if keep(f.File) {
			return f, true
		}
	}
	return Frame{}, false
}

// mineOf is the innermost frame of the learner's code on g's own stack.
func (g Goroutine) mineOf(mine func(string) bool) (Frame, bool) { return first(g.Frames, mine) }

// originOf is where the learner's code started g, directly or through goroutines of a library.
func (g Goroutine) originOf(mine func(string) bool) (Frame, bool) {
	if g.CreatedBy.Func != "" && mine(g.CreatedBy.File) {
		return g.CreatedBy, true
	}
	return first(g.Ancestors, mine)
}

// has tells whether a frame's function begins with one of the prefixes.
func (g Goroutine) has(prefixes ...string) bool {
	_, ok := g.calls(prefixes...)
	return ok
}

func (g Goroutine) calls(prefixes ...string) (Frame, bool) {
	for _, f := range g.Frames {
		for _, p := range prefixes {
			if strings.HasPrefix(f.Func, p) {
				return f, true
			}
		}
	}
	return Frame{}, false
}
