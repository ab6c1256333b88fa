// Kata is the course's command-line tool. It runs from a clone, with nothing installed: go tool kata.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// Never stopped: one more Ctrl-C while the command ends would change its exit code.
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
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
		fmt.Fprintf(stderr, "kata: %v%s\n", err, todo(err))
		return exitUsage
	}
}

// errCall is a call that the command line's rules refuse.
type errCall struct {
	error
	command string
}

// todo says what to do about an error that does not say so itself.
func todo(err error) string {
	var call errCall
	switch {
	case errors.As(err, &call) && strings.HasSuffix(err.Error(), "\n"): // it proposes something
		return fmt.Sprintf("go tool %s --help has examples", call.command)
	case errors.As(err, &call):
		return fmt.Sprintf("; go tool %s --help has examples", call.command)
	case strings.HasPrefix(err.Error(), "unknown command"):
		return "\ngo tool kata --help lists them"
	case errors.Is(err, exec.ErrNotFound) && strings.Contains(err.Error(), `"go"`):
		return ": there is no go command in PATH: install Go (https://go.dev/dl) or mend PATH"
	case errors.Is(err, fs.ErrPermission):
		return ": mend the permissions; go tool kata doctor looks at the usual places"
	}
	return ""
}

// explainCompletion says how the shells' words are had for a tool that is not installed.
func explainCompletion(c *cobra.Command) {
	c.Short = "Write the completion of commands, lessons and steps for a shell"
	c.Long = "Completion writes a shell's completion of kata: commands, flags, lessons with their titles, steps, files. An alias gives it a name to complete."
	c.Example = "  alias kata='go tool kata'; source <(go tool kata completion bash)      in ~/.bashrc\n" +
		"  alias kata='go tool kata'; source <(go tool kata completion zsh)       in ~/.zshrc\n" +
		"  alias kata 'go tool kata'; go tool kata completion fish | source       in config.fish"
	c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() } // without it any word is taken for a shell
	for _, shell := range c.Commands() {
		shell.Example = "  go tool kata completion " + shell.Name()
	}
}

// refuse has a command's own rules speak of its help.
func refuse(c *cobra.Command) {
	rule := c.Args
	c.Args = func(cmd *cobra.Command, args []string) error {
		if rule == nil {
			return nil
		}
		if err := rule(cmd, args); err != nil {
			return errCall{err, cmd.CommandPath()}
		}
		return nil
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
	cobra.EnableCommandSorting = false // they stand in the order in which they are needed
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
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		refuse(c)
		if c.Name() == "completion" {
			explainCompletion(c)
		}
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return errCall{err, c.CommandPath()} })
	return root
}
