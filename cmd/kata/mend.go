package main

import (
	"encoding/json"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kafka-katas/kafka-katas/internal/doctor"
)

func newReset() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "reset lesson [file...]",
		Short: "Give a lesson its stub back, after a backup of everything",
		Long: `Reset brings the stub back that the lesson began with, from git's history: all files, or those that are named. First it
copies the whole lesson as it is now, committed or not, into .katas/backups/ and says where. Files of your own go there too.
It touches neither commits nor the index, and ending it at any moment loses nothing.`,
		Example:           "  go tool kata reset 07\n  go tool kata reset 07 stats.go\n  go tool kata reset 07 --dry-run",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: resetArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := theDesk()
			if err != nil {
				return err
			}
			return d.Reset(cmd.OutOrStdout(), args[0], args[1:], dry)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

func resetArgs(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return lessonArgs(cmd, nil, word)
	}
	d, err := theDesk()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	l, err := d.Lesson(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	files, _ := l.Files()
	return files, cobra.ShellCompDirectiveNoFileComp
}

func newReplay() *cobra.Command {
	var spec string
	cmd := &cobra.Command{
		Use:   "replay [seed] [lesson] [step]",
		Short: "Tell a story again with the schedule that made it red",
		Long: `Replay runs one story with one schedule of disturbances or one crash point, as a failure prints it. Without a seed it is that
of the last red; without a lesson it is that of the run that was red with it.

Exit codes: 0 green, 1 red, 2 a wrong call or environment.`,
		Example: `  go tool kata replay
  go tool kata replay 'crash m1@2.3s, join m2@4s'
  go tool kata replay "KATA_SCHEDULE='crash m1@2.3s'" 07 18
  go tool kata replay 'before OffsetCommit 2' 07 18`,
		Args: cobra.MaximumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := theDesk()
			if err != nil {
				return err
			}
			return reds(d.Replay(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), first(args), args[min(1, len(args)):], spec))
		},
	}
	cmd.Flags().StringVar(&spec, "spec", "", "run this specification alone")
	return cmd
}

func newReport() *cobra.Command {
	var closed bool
	cmd := &cobra.Command{
		Use:     "report",
		Short:   "Open the timeline of the last red",
		Long:    "Report says where the whole timeline of the last red story is, one HTML file, and opens it if there is a desktop.",
		Example: "  go tool kata report\n  go tool kata report --no-open",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := theDesk()
			if err != nil {
				return err
			}
			return d.Report(cmd.Context(), cmd.OutOrStdout(), !closed)
		},
	}
	cmd.Flags().BoolVar(&closed, "no-open", false, "say where it is, and no more")
	return cmd
}

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at what this machine lacks, and say which command mends it",
		Long: `Doctor looks at Go's version and settings, the module and build caches, the race detector, the build tag in the settings of
editors, git, and the place where progress is kept. It changes nothing.

Exit codes: 0 the course can run, 1 it cannot, 2 a wrong call.`,
		Example: "  go tool kata doctor\n  go tool kata doctor --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := courseRoot()
			if err != nil {
				return err
			}
			all, out := doctor.Examine(cmd.Context(), root), cmd.OutOrStdout()
			if asJSON {
				found := slices.Collect(all)
				e := json.NewEncoder(out)
				e.SetIndent("", "  ")
				if err := e.Encode(found); err != nil {
					return err
				}
				all, out = slices.Values(found), io.Discard
			}
			ok, err := doctor.Print(out, all)
			if err == nil && !ok {
				err = errBroken
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the findings as JSON")
	return cmd
}
