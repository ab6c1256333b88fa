package supervise

import (
	"flag"
	"os"
	"strings"
	"time"
)

// value is a flag of the testing package, "" if there is none of that name.
func value(name string) string {
	if f := flag.Lookup("test." + name); f != nil {
		return f.Value.String()
	}
	return ""
}

func duration(name string) time.Duration {
	d, _ := time.ParseDuration(value(name))
	return d
}

// direct tells that the tests must run in this process: a list is no run; benchmarks must not be disturbed by an
// observer; the fuzzer has workers of its own.
func direct() bool {
	return value("list") != "" || value("bench") != "" || value("fuzz") != "" || value("fuzzworker") == "true" || Debugged()
}

// restarts tells why the tests that are left cannot be run in another child, "" if they can: a child that starts in the
// middle of a repetition or of a shuffled order would repeat tests that have a verdict.
func noRestart() string {
	switch {
	case value("failfast") == "true":
		return "-failfast"
	case value("count") != "1" && value("count") != "":
		return "-count=" + value("count")
	case value("shuffle") != "off" && value("shuffle") != "":
		return "-shuffle"
	case strings.Contains(value("cpu"), ","):
		return "-cpu"
	}
	return ""
}

// arguments are this process's, with -test.skip and -test.timeout replaced. The last of several equal flags counts,
// and so they go behind the given ones, but before what is no flag.
func arguments(skip []string, timeout time.Duration) []string {
	args := os.Args[1:]
	flags, rest := args[:len(args)-flag.NArg()], args[len(args)-flag.NArg():]
	end := len(flags) > 0 && flags[len(flags)-1] == "--"
	if end {
		flags = flags[:len(flags)-1]
	}
	out := append([]string(nil), flags...)
	if len(skip) > 0 {
		// Alternatives are matched one by one, each with its own slashes, so that a given pattern keeps its meaning.
		var alternatives []string
		if given := value("skip"); given != "" {
			alternatives = append(alternatives, given)
		}
		for _, name := range skip {
			alternatives = append(alternatives, "^"+name+"$")
		}
		out = append(out, "-test.skip="+strings.Join(alternatives, "|"))
	}
	if timeout > 0 {
		out = append(out, "-test.timeout="+timeout.String())
	}
	if end {
		out = append(out, "--")
	}
	return append(out, rest...)
}
