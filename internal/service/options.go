package service

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// options are what the command line says. go tool kata serve has the same ones, with their explanations, and passes them on.
type options struct {
	http   string
	config string
	rate   float64
	bad    float64
	seed   uint64
	grace  time.Duration
	mine   bool // the code is the learner's, not the solution's
	stdin  bool // the end of standard input is a request to stop: whoever started this has ended
}

func parse(lesson string, args []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet(lesson+"/serve", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.http, "http", "127.0.0.1:"+port(lesson), "where /stats and the others are")
	flags.StringVar(&o.config, "config", "", "configuration `file`; none: the defaults")
	flags.Float64Var(&o.rate, "rate", 20, "records per second")
	flags.Float64Var(&o.bad, "bad", 0.05, "which share of them is bad, 0 to 1")
	flags.Uint64Var(&o.seed, "seed", 1, "the traffic is the same for the same seed")
	flags.DurationVar(&o.grace, "grace", 40*time.Second, "how long stopping may take")
	flags.BoolVar(&o.mine, "mine", false, "the code is the learner's own")
	flags.BoolVar(&o.stdin, "stdin", false, "stop when standard input ends")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var errs []error
	if flags.NArg() > 0 {
		errs = append(errs, fmt.Errorf("%q is too much: everything is a flag", flags.Args()))
	}
	if !(o.rate >= 0 && o.rate <= 10_000) {
		errs = append(errs, fmt.Errorf("--rate is %v: must be 0 to 10000 records per second", o.rate))
	}
	if !(o.bad >= 0 && o.bad <= 1) {
		errs = append(errs, fmt.Errorf("--bad is %v: must be a share of 0 to 1", o.bad))
	}
	if o.grace <= 0 {
		errs = append(errs, fmt.Errorf("--grace is %v: must be longer than 0s", o.grace))
	}
	host, _, err := net.SplitHostPort(o.http)
	switch ip := net.ParseIP(host); {
	case err != nil:
		errs = append(errs, fmt.Errorf("--http is %q: must be an address and a port, as in 127.0.0.1:8080", o.http))
	case host != "localhost" && (ip == nil || !ip.IsLoopback()):
		errs = append(errs, fmt.Errorf("--http is %q: must be this machine's own, as in 127.0.0.1:8080, because the management calls ask for no password", o.http))
	}
	return o, errors.Join(errs...)
}

// port is a lesson's own, so that several can run at once: 8007 for lesson07.
func port(lesson string) string {
	n, _ := strconv.Atoi(strings.TrimPrefix(lesson, "lesson"))
	return strconv.Itoa(8000 + n)
}
