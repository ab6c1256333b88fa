package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kafka-katas/kafka-katas/internal/judge"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

func newBreak() *cobra.Command {
	var asJSON, fresh bool
	cmd := &cobra.Command{
		Use:   "break lesson [file]",
		Short: "The reverse kata: write a test, and see how many classic mistakes it catches",
		Long: `Break runs a test of your own for a lesson. On the solution it must be green. Then it is run on every classic mistake of the
lesson: how many does it catch? Those that get away are told by their names alone.

The file is of the lesson's package, and may use its exported names, the harness, and the lesson's cast (cast_test.go). By
default it is .katas/break/lessonNN_test.go, which --new writes, for you to begin with.

Exit codes: 0 every mistake is caught, 1 some got away or it is red on the solution, 2 a wrong call or environment.`,
		Example:           "  go tool kata break 07 --new\n  go tool kata break 07\n  go tool kata break 07 my_test.go",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: lessonArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := theDesk()
			if err != nil {
				return err
			}
			l, err := lesson.Find(d.Root, args[0])
			if err != nil {
				return err
			}
			file := filepath.Join(d.Book.Dir(), "break", l.Name+"_test.go")
			if len(args) > 1 {
				file = args[1]
			}
			if fresh {
				return begin(cmd, file, l.Name)
			}
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no %s: kata break %s --new writes one to begin with", file, l.Short())
			}
			course, err := judge.Open(d.Root, l.Name)
			if err != nil {
				return err
			}
			r, err := course.Reverse(cmd.Context(), l.Name, file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				err = r.Print(cmd.OutOrStdout())
			}
			if err == nil && (r.Solution != "" || len(r.Away) > 0) {
				err = errBroken
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the score as JSON")
	cmd.Flags().BoolVar(&fresh, "new", false, "write a file to begin with, unless it is there")
	return cmd
}

const template = `package %s

import (
	"testing"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Which promise, and in whose words? A story has three paragraphs: arrange, disturb, claim.
func TestMine(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
	})
}
`

// begin writes the file to begin with, and never over one that is there.
func begin(cmd *cobra.Command, file, name string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already", file)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, template, name)
	if err = errors.Join(err, f.Close()); err == nil {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", file)
	}
	return err
}
