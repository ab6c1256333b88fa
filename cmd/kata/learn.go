package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/kafka-katas/kafka-katas/internal/desk"
	"github.com/kafka-katas/kafka-katas/internal/judge"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// theDesk is the desk of the clone that the tool is called in.
func theDesk() (*desk.Desk, error) {
	root, err := courseRoot()
	if err != nil {
		return nil, err
	}
	return desk.New(root), nil
}

// courseRoot is the clone around this folder.
func courseRoot() (string, error) {
	root, err := judge.FindRoot(".")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(root, "katas")); err != nil {
		return "", fmt.Errorf("%s is a Go module and not the course, for it has no folder katas: run this in a clone of the course", root)
	}
	return root, nil
}

// reds turns what a desk says into the exit code.
func reds(err error) error {
	if errors.Is(err, desk.ErrRed) {
		return errBroken
	}
	return err
}

// lessonArgs completes a lesson, and then one of its steps.
func lessonArgs(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const done = cobra.ShellCompDirectiveNoFileComp
	d, err := theDesk()
	if err != nil {
		return nil, done
	}
	var out []cobra.Completion
	switch len(args) {
	case 0:
		all, _ := lesson.All(d.Root)
		for _, l := range all {
			out = append(out, cobra.CompletionWithDesc(l.Short(), l.Title))
		}
	case 1:
		if l, err := lesson.Find(d.Root, args[0]); err == nil {
			for _, s := range l.Steps {
				out = append(out, cobra.CompletionWithDesc(strconv.Itoa(s.Number), s.Title))
			}
		}
	}
	return out, done | cobra.ShellCompDirectiveKeepOrder
}

func newList() *cobra.Command {
	var steps bool
	cmd := &cobra.Command{
		Use:   "list [lesson]",
		Short: "Show the syllabus: lessons, belts and how far you are",
		Long: `List shows each lesson with its belts, a sign for each step: # green, x red, . not run yet. > is the lesson that you are at.
What is green follows from your runs; .katas/progress.json keeps it, and deleting that loses nothing but history.`,
		Example:           "  go tool kata list            the lessons\n  go tool kata list 07         one, with its steps\n  go tool kata list --steps    all, with their steps",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: lessonArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := theDesk()
			if err != nil {
				return err
			}
			return d.List(cmd.OutOrStdout(), steps, first(args))
		},
	}
	cmd.Flags().BoolVar(&steps, "steps", false, "show the steps too")
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func newNext() *cobra.Command {
	return &cobra.Command{
		Use:               "next [lesson]",
		Short:             "Say which step is next, and what it promises",
		Long:              "Next is the first step that is not green: of the lesson that was run last, or of the first one that is not finished.",
		Example:           "  go tool kata next\n  go tool kata next 08",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: lessonArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := theDesk()
			if err != nil {
				return err
			}
			return d.Next(cmd.OutOrStdout(), first(args))
		},
	}
}

func newTest() *cobra.Command {
	var o desk.Test
	cmd := &cobra.Command{
		Use:   "test [lesson] [step] [-- go test flags]",
		Short: "Run a lesson or one step, and show the first red",
		Long: `Test runs a lesson's specifications with the build tag that they need and builds them the quick way, then shows what is red
first and how far you are. The run is noted in .katas/log.ndjson. Without a lesson it is the one that you are at.

Exit codes: 0 green, 1 red or not built, 2 a wrong call or environment.`,
		Example: `  go tool kata test               the lesson that you are at
  go tool kata test 07            lesson 07 up to its first red step
  go tool kata test 07 3          step 3 alone
  go tool kata test 07 --all      every red step
  go tool kata test 07 --json     for machines
  go tool kata test 07 3 -- -race -count=5`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := beforeDash(cmd, args); n > 2 {
				return errors.New("test wants a lesson and a step, no more: kata test 07 3; flags of go test follow after --")
			}
			return nil
		},
		ValidArgsFunction: lessonArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := theDesk()
			if err != nil {
				return err
			}
			n := beforeDash(cmd, args)
			l, s, err := d.At(args[:n])
			if err != nil {
				return err
			}
			o.Args = args[n:]
			return reds(d.Test(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), l, s, o))
		},
	}
	cmd.Flags().BoolVar(&o.All, "all", false, "run every step although an earlier one is red, and show each failure")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "write the verdict as JSON")
	return cmd
}

func beforeDash(cmd *cobra.Command, args []string) int {
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		return n
	}
	return len(args)
}

// aboutStep makes a command that says something about a step.
func aboutStep(cmd *cobra.Command, do func(d *desk.Desk, w io.Writer, l *lesson.Lesson, s *lesson.Step) error) *cobra.Command {
	cmd.Args = cobra.MaximumNArgs(2)
	cmd.ValidArgsFunction = lessonArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := theDesk()
		if err != nil {
			return err
		}
		l, s, err := d.AtStep(args)
		if err != nil {
			return err
		}
		return do(d, cmd.OutOrStdout(), l, s)
	}
	return cmd
}

func newHint() *cobra.Command {
	var all bool
	cmd := aboutStep(&cobra.Command{
		Use:   "hint [lesson] [step]",
		Short: "Give a hint for a step, one more detail at each call",
		Long: `Hint shows the hint of a step from the lesson's README, its first paragraph at the first call and one more at each
further call. Without a step it is the one that you are at.`,
		Example: "  go tool kata hint\n  go tool kata hint lesson07 2\n  go tool kata hint 07 2 --all",
	}, func(d *desk.Desk, w io.Writer, l *lesson.Lesson, s *lesson.Step) error { return d.Hint(w, l, s, all) })
	cmd.Flags().BoolVar(&all, "all", false, "show the whole hint")
	return cmd
}

func newExplain() *cobra.Command {
	return aboutStep(&cobra.Command{
		Use:     "explain [lesson] [step]",
		Short:   "Explain a step: what it is about, and what is judged",
		Long:    "Explain shows the step's section of the lesson's README, without its hint, and the promises that are judged.",
		Example: "  go tool kata explain\n  go tool kata explain 07 4",
	}, (*desk.Desk).Explain)
}

// afterGreen makes a command that shows what is better not seen before green.
func afterGreen(cmd *cobra.Command, do func(d *desk.Desk, w io.Writer, l *lesson.Lesson, peek bool) error) *cobra.Command {
	var peek bool
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.ValidArgsFunction = lessonArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := theDesk()
		if err != nil {
			return err
		}
		var l *lesson.Lesson
		if len(args) == 0 {
			l, err = d.Latest()
		} else {
			l, err = d.Lesson(args[0])
		}
		if err != nil {
			return err
		}
		return do(d, cmd.OutOrStdout(), l, peek)
	}
	cmd.Flags().BoolVar(&peek, "peek", false, "although it is not green")
	return cmd
}

func newDebrief() *cobra.Command {
	return afterGreen(&cobra.Command{
		Use:     "debrief [lesson]",
		Short:   "After green: why it works, and the classic mistakes",
		Long:    "Debrief shows the part \"After green\" of the lesson's README, once every step is green. Without a lesson it is the one that was run last.",
		Example: "  go tool kata debrief\n  go tool kata debrief 07 --peek",
	}, (*desk.Desk).Debrief)
}

func newDiff() *cobra.Command {
	return afterGreen(&cobra.Command{
		Use:     "diff [lesson]",
		Short:   "After green: your code against the solution",
		Long:    "Diff shows what turns your code into the solution, once every step is green. Without a lesson it is the one that was run last.",
		Example: "  go tool kata diff | less\n  go tool kata diff 07 --peek",
	}, (*desk.Desk).Diff)
}
