// Kata is the course's command-line tool. It runs from a clone, with nothing installed: go tool kata.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes, the same for every command.
const (
	exitLawful = 0 // done, and all is well
	exitBroken = 1 // done, and something is red
	exitUsage  = 2 // not done: a wrong call, or the environment lacks something
)

// errBroken ends a command that has already said what is red.
var errBroken = errors.New("broken")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return exitLawful
	case errors.Is(err, errBroken):
		return exitBroken
	default:
		fmt.Fprintf(stderr, "kata: %v\n", err)
		return exitUsage
	}
}

// newRoot is the tool without a command. A command is one file, and one line here.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "kata",
		Short: "Kafka Katas: learn resilient messaging by making failing specifications pass",
		Long: `The tool of Kafka Katas. Everything works from plain "go test" too.

Exit codes: 0 all is well, 1 something is red, 2 a wrong call or environment.`,
		Example: `  go tool kata next                 what to do now
  go tool kata test                 run it
  go tool kata hint                 when you are stuck
  go tool kata doctor               when nothing works
  go tool kata check                prove that the course itself is right`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddGroup(&cobra.Group{ID: "learn", Title: "Learn:"}, &cobra.Group{ID: "course", Title: "The course itself:"})
	for _, c := range []*cobra.Command{
		newList(), newNext(), newTest(), newWatch(), newHint(), newExplain(), newDebrief(), newDiff(), newReport(), newReplay(), newReset(), newDoctor(),
		newServe(), newBreak(), newDojo(), newPredict(), newRetro(),
	} {
		c.GroupID = "learn"
		root.AddCommand(c)
	}
	check := newCheck()
	check.GroupID = "course"
	root.AddCommand(check, newVersion())
	return root
}
