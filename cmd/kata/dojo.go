package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kafka-katas/kafka-katas/internal/dojo"
	"github.com/kafka-katas/kafka-katas/internal/watch"
)

func newDojo() *cobra.Command {
	var names []string
	var turn time.Duration
	var pingPong, mob, tcr bool
	cmd := &cobra.Command{
		Use:   "dojo [lesson]",
		Short: "Watch a lesson in a pair or a mob: turns, names, hand-over",
		Long: `Dojo is watch with turns. The first line says who drives, who navigates and how long; a bell rings when the turn is over. Keys
beside those of watch: x rotates and writes the hand-over note (.katas/handover.md: step, first red, seed, timeline), z begins the
turn anew. With --ping-pong the turn changes when a step is unlocked: who makes one green has unlocked the next, and the other
makes that green. With --tcr an edit that breaks an earlier step is taken back, into .katas/backups/. With --mob, rotating also
calls "mob next" of mob.sh, which commits and pushes. The runs are noted with their names; kata retro tells them.`,
		Example:           "  go tool kata dojo 07 --names Ada,Bob\n  go tool kata dojo 07 --names Ada,Bob,Cy --turn 7m\n  go tool kata dojo 07 --names Ada,Bob --ping-pong --tcr\n  go tool kata dojo 07 --names Ada,Bob,Cy --mob",
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
			if turn < time.Second {
				return fmt.Errorf("--turn %v: at least a second", turn)
			}
			clock := dojo.NewClock(time.Now(), turn, names...)
			clock.PingPong = pingPong
			room := dojo.New(d, clock)
			if tcr {
				room.TCR = l
			}
			program, err := exec.LookPath("mob")
			if mob && err != nil {
				return fmt.Errorf("--mob: there is no mob here; https://mob.sh says how to install it")
			}
			if mob {
				room.Mob = func() error { return mobNext(cmd.Context(), program, d.Root) }
			}
			if !isTerminal(cmd.OutOrStdout()) || !isTerminal(cmd.InOrStdin()) {
				return fmt.Errorf("%w: a dojo is looked at; kata watch prints lines", watch.ErrNoTerminal)
			}
			s := &watch.Session{Desk: d, Lesson: l, By: "dojo", Note: room.Note}
			return watch.TerminalWith(cmd.Context(), s, room.Extra(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringSliceVar(&names, "names", nil, "who takes part, in the order in which they drive")
	cmd.Flags().DurationVar(&turn, "turn", 5*time.Minute, "how long a turn lasts")
	cmd.Flags().BoolVar(&pingPong, "ping-pong", false, "change turns when a step is unlocked")
	cmd.Flags().BoolVar(&tcr, "tcr", false, "take an edit back, into a backup, when a step that was green turns red by it")
	cmd.Flags().BoolVar(&mob, "mob", false, "call mob next when rotating (mob.sh)")
	return cmd
}

// mobNext hands over to the next machine, by mob.sh.
func mobNext(ctx context.Context, program, dir string) error {
	cmd := exec.CommandContext(ctx, program, "next")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mob next: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
