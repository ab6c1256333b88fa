package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kafka-katas/kafka-katas/internal/watch"
)

func newWatch() *cobra.Command {
	var poll, plain bool
	cmd := &cobra.Command{
		Use:   "watch [lesson]",
		Short: "Run a lesson at each save, and show how it goes",
		Long: `Watch runs the lesson when a Go file of it is saved, and shows the step that you are at, its promise, and the failure with its
timeline. A new save cancels the run that it has overtaken. Keys:

  n next   h hint, one paragraph more each time   a run all steps   t timeline   d diff, after green (twice: peek)
  r run    up, down, space: scroll                q quit

Without colour: NO_COLOR=1. For a screen reader, or a terminal that cannot be redrawn: --plain, ACCESSIBLE=1 or TERM=dumb; it
then prints lines, and a key is typed with Enter. When standard output is no terminal it prints lines and reads no keys.
Where the system does not tell of saves (a network disk, a Windows disk under WSL) it looks at the files again and again,
and says so; --poll asks for it.`,
		Example:           "  go tool kata watch\n  go tool kata watch 07\n  go tool kata watch 07 --plain\n  go tool kata watch 07 | tee session.log",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: lessonArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := theDesk()
			if err != nil {
				return err
			}
			l, err := d.Lesson(first(args))
			if err != nil {
				return err
			}
			s := &watch.Session{Desk: d, Lesson: l, By: "watch"}
			s.Files.Poll = poll
			if dir, err := filepath.EvalSymlinks(l.Dir()); err == nil {
				s.Files.Dir = dir
			}
			return show(cmd.Context(), s, plain, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&poll, "poll", false, "look at the files again and again instead of waiting to be told of saves")
	cmd.Flags().BoolVar(&plain, "plain", false, "print lines, and redraw nothing")
	return cmd
}

// show chooses how a session is shown by what there is to show it on.
func show(ctx context.Context, s *watch.Session, plain bool, in io.Reader, out io.Writer) error {
	switch {
	case !isTerminal(out):
		return watch.Lines(ctx, s, nil, out)
	case plain || os.Getenv("ACCESSIBLE") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(in):
		return watch.Lines(ctx, s, in, out)
	}
	return watch.Terminal(ctx, s, in, out)
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
