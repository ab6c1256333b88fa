package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kafka-katas/kafka-katas/internal/desk"
	"github.com/kafka-katas/kafka-katas/internal/judge"
	"github.com/kafka-katas/kafka-katas/internal/service/stop"
)

func newServe() *cobra.Command {
	var mine bool
	cmd := &cobra.Command{
		Use:   "serve [lesson]",
		Short: "Run a lesson as a service, to be watched",
		Long: `Serve runs a lesson's solution, or with --mine your own code, as the service that it is: with its config.yaml and
the environment (LESSON07_CONCURRENCY=8), on a Kafka of its own, with steady traffic of which some is bad, and with
/stats, /metrics, /healthz, /readyz, /pause, /resume and /reset over HTTP. Without a lesson it takes the one that you are at.

With KAFKA_BROKERS=host:9092,... it runs on that cluster, on topics and a group named as in the configuration. Topics that
are missing are made; nothing is ever deleted.

Ctrl-C stops it cleanly, a second one kills it.
Exit codes: 0 stopped as asked, 1 the service failed or its code does not compile, 2 it could not be started.`,
		Example: "  go tool kata serve 07\n  go tool kata serve 07 --mine --rate 200 --bad 0\n  KAFKA_BROKERS=localhost:9092 go tool kata serve 07",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			root, err := judge.FindRoot(".")
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			there, _ := services(root)
			return there, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := judge.FindRoot(".")
			if err != nil {
				return err
			}
			lesson, err := served(root, args)
			if err != nil {
				return err
			}
			s := serving{root: root, lesson: lesson, mine: mine, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
			cmd.Flags().Visit(func(f *pflag.Flag) {
				if f.Name != "mine" {
					s.args = append(s.args, "-"+f.Name+"="+f.Value.String())
				}
			})
			return s.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&mine, "mine", false, "run your own code, katas/lessonNN, not the solution")
	f.String("http", "", "where /stats and the others are: an address of this machine (default 127.0.0.1:80NN; port 0: any that is free)")
	f.String("config", "", "configuration `file` (default solutions/lessonNN/config.yaml)")
	f.Float64("rate", 20, "records per second")
	f.Float64("bad", 0.05, "which share of them is bad, 0 to 1")
	f.Uint64("seed", 1, "the traffic is the same for the same seed")
	f.Duration("grace", 40*time.Second, "how long stopping may take")
	return cmd
}

// services are the lessons that can be served.
func services(root string) ([]string, error) {
	mains, err := filepath.Glob(filepath.Join(root, "solutions", "lesson*", "serve", "main.go"))
	var there []string
	for _, m := range mains {
		there = append(there, filepath.Base(filepath.Dir(filepath.Dir(m))))
	}
	return there, err
}

// served is the lesson that was asked for, or that the learner is at, or the first.
func served(root string, args []string) (string, error) {
	there, err := services(root)
	if err != nil {
		return "", err
	}
	if len(there) == 0 {
		return "", errors.New("no lesson of this course can be served: there is no solutions/lessonNN/serve")
	}
	if len(args) == 0 {
		if at, err := desk.New(root).Lesson(""); err == nil && slices.Contains(there, at.Name) {
			return at.Name, nil
		}
		return there[0], nil
	}
	lesson := "lesson" + fmt.Sprintf("%02s", strings.TrimPrefix(args[0], "lesson"))
	switch _, err := os.Stat(filepath.Join(root, "katas", lesson)); {
	case slices.Contains(there, lesson):
		return lesson, nil
	case err != nil:
		return "", fmt.Errorf("there is no lesson %s; these can be served: %s", args[0], strings.Join(there, ", "))
	default:
		return "", fmt.Errorf("%s has no service; these have one: %s", lesson, strings.Join(there, ", "))
	}
}

// notStarted is the exit code by which a service says that it could not be started. A panic's is 2.
const notStarted = 3

// serving is one run of a lesson's service. It is a program of its own: a lesson that does not compile must not take
// the tool away, so the tool cannot hold it.
type serving struct {
	root, lesson string
	mine         bool
	args         []string
	out, errs    io.Writer
}

func (s serving) run(ctx context.Context) error {
	asked, done := stop.Signals()
	defer done()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the first Ctrl-C must not kill
	defer cancel()
	gently, atOnce := stop.At(ctx, asked)
	program, err := s.build(gently)
	if gently.Err() != nil {
		return errBroken // who stops it knows why
	}
	if err != nil {
		return err
	}
	args, err := s.arguments()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(atOnce, program, args...)
	cmd.Stdout, cmd.Stderr = s.out, s.errs
	// The end of its input asks the service to stop: the same on every system, and also when this process is killed.
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	context.AfterFunc(gently, func() { _ = lifeline.Close() })
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == notStarted:
		return fmt.Errorf("%s was not started", s.lesson)
	case errors.As(err, &exit):
		return errBroken
	}
	return err
}

func (s serving) arguments() ([]string, error) {
	args := append([]string{"-stdin"}, s.args...)
	if s.mine {
		args = append(args, "-mine")
	}
	file := filepath.Join(s.root, "solutions", s.lesson, "config.yaml")
	given := slices.ContainsFunc(s.args, func(a string) bool { return strings.HasPrefix(a, "-config=") })
	if _, err := os.Stat(file); err != nil || given {
		return args, nil
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if short, err := filepath.Rel(here, file); err == nil {
		file = short
	}
	return append(args, "-config="+file), nil
}

// build makes the lesson's program; the go command does nothing if it is up to date.
func (s serving) build(ctx context.Context) (string, error) {
	dir := filepath.Join(s.root, ".katas", "serve")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := s.lesson
	args := []string{"build"}
	if s.mine {
		name += "-mine"
		overlay := filepath.Join(dir, name+".json")
		if err := s.lay(overlay); err != nil {
			return "", err
		}
		args = append(args, "-overlay="+overlay)
	}
	program := filepath.Join(dir, name)
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	fmt.Fprintf(s.errs, "building %s\n", s.lesson)
	patient := time.AfterFunc(2*time.Second, func() { fmt.Fprintf(s.errs, "the first time takes a while\n") })
	defer patient.Stop()
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", program, "./solutions/"+s.lesson+"/serve")...)
	cmd.Dir = s.root
	said, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return program, nil
	case ctx.Err() != nil || !errors.As(err, &exit):
		return "", err
	}
	text := strings.TrimSpace(string(said))
	if s.mine {
		// The go command names the files that were laid, which are the learner's, but the package that they were laid on.
		text = packageLine.ReplaceAllString(text, "")
		fmt.Fprintf(s.errs, "%s\n\nkatas/%s does not compile. Mend it, or leave out --mine and watch the solution.\n", text, s.lesson)
	} else {
		fmt.Fprintf(s.errs, "%s\n\nsolutions/%s does not compile. Has it been changed? git diff solutions/%s\n", text, s.lesson, s.lesson)
	}
	return "", errBroken
}

var packageLine = regexp.MustCompile(`(?m)^# .*\n`)

// lay writes an overlay in which the learner's files are those of the solution's package.
func (s serving) lay(file string) error {
	replace := map[string]string{}
	solution, kata := filepath.Join(s.root, "solutions", s.lesson), filepath.Join(s.root, "katas", s.lesson)
	for _, dir := range []string{solution, kata} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return err
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			with := name
			if dir == solution {
				with = "" // not there, unless the learner has it too
			}
			replace[filepath.Join(solution, filepath.Base(name))] = with
		}
	}
	text, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
