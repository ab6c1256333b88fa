package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kafka-katas/kafka-katas/internal/desk"
)

func newPredict() *cobra.Command {
	var forget bool
	cmd := &cobra.Command{
		Use:   "predict [red|green] [word] [records]",
		Short: "Say what the next run will show, and see whether you knew",
		Long: `Predict keeps what you say the next run will show: its colour, the delivery word, and how many records. The next run that
judges anything (test, watch, dojo, replay) is compared with it, and both are kept for the retrospective.`,
		Example: "  go tool kata predict green\n  go tool kata predict red lost\n  go tool kata predict red duplicated 2\n  go tool kata predict            what was said\n  go tool kata predict --forget",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []cobra.Completion{"red", "green"}, cobra.ShellCompDirectiveNoFileComp
			}
			return desk.Words, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := theDesk()
			if err != nil {
				return err
			}
			return d.Predict(cmd.OutOrStdout(), args, forget)
		},
	}
	cmd.Flags().BoolVar(&forget, "forget", false, "take back what was said")
	return cmd
}

func newRetro() *cobra.Command {
	var since time.Duration
	var file string
	cmd := &cobra.Command{
		Use:     "retro",
		Short:   "Write the session's retrospective as Markdown, from the log of runs",
		Long:    "Retro writes what .katas/log.ndjson tells of the last hours: runs, what was red, when steps were green first, predictions, turns and hand-overs, and questions to talk about.",
		Example: "  go tool kata retro\n  go tool kata retro --since 2h --out retro.md",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			d, err := theDesk()
			if err != nil {
				return err
			}
			var out io.Writer = cmd.OutOrStdout()
			if file != "" {
				f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) // notes may have been added to an older one
				if err != nil {
					return fmt.Errorf("%w: choose another name", err)
				}
				defer f.Close()
				out = f
			}
			return d.Retro(out, time.Now().Add(-since))
		},
	}
	cmd.Flags().DurationVar(&since, "since", 12*time.Hour, "how far back")
	cmd.Flags().StringVarP(&file, "out", "o", "", "write into this file, which must not exist yet")
	return cmd
}
