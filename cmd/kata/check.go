package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kafka-katas/kafka-katas/internal/judge"
)

// checkFlags are the flags of check.
type checkFlags struct {
	laws     []int
	mistake  string
	repeat   int
	race     bool
	shuffle  string
	timeout  time.Duration
	explore  time.Duration
	keep     bool
	json     bool
	markdown string

	brokers string
	belt    string
	side    int
	limit   time.Duration
	within  time.Duration
	wrong   bool
	table   string
	rest    bool
}

func newCheck() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check [lesson...]",
		Short: "Judge the lessons themselves by the five laws",
		Long: `Check proves that the course is right. For each lesson:

  1 stub      every spec, run alone, is red on the stub, with a claim's or the stub's own sentence
  2 solution  every spec is green on the solution, under -race, shuffled, repeated
  3 mistake   each mistake is red in exactly the way its "Caught by" says
  4 spec      every spec is a step, speaks of exported names alone, and is named by a mistake
  5 surface   stub and solution export the same; every step has a README section and a hint

With --brokers it tells the solutions' specs on that cluster instead, in real time, and compares. Everything has
names of its own there and is removed afterwards. A story longer than --limit is left out. With --mistakes it tells
the mistakes instead, each the shortest story that is said to catch it: the cluster agrees if 85% of those that are told
are caught in the same word.

Exit codes: 0 every law holds, 1 a law is broken, 2 a wrong call or environment.`,
		Example: `  go tool kata check                                        every lesson, every law
  go tool kata check 07 --law 4,5                           the quick ones, while writing
  go tool kata check 07 --mistake commits_before_handling   one mistake, with all that its specs print
  go tool kata check --keep --law 3                         leave the overlay, and show the go command
  go tool kata check 07 --brokers localhost:9092            the same specs on a real Kafka
  go tool kata check --brokers localhost:9092 --within 10m  what there is time for, the shortest stories first`,
		RunE: func(cmd *cobra.Command, lessons []string) error { return f.run(cmd, lessons) },
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&f.laws, "law", nil, "judge these laws alone (1-5)")
	flags.StringVar(&f.mistake, "mistake", "", "run this mistake alone and show everything its specs print")
	flags.IntVar(&f.repeat, "repeat", 3, "runs of each spec on the solution")
	flags.BoolVar(&f.race, "race", true, "run the solutions under the race detector (needs a C compiler)")
	flags.StringVar(&f.shuffle, "shuffle", "", "seed of an earlier run's order, to see it again")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Minute, "limit of each test program")
	flags.DurationVar(&f.explore, "explore", 0, "let each exploration take new seeds for this long (use with --law 2 --repeat 1)")
	flags.BoolVar(&f.keep, "keep", false, "leave the overlay in place and show the go commands")
	flags.BoolVar(&f.json, "json", false, "write the whole report as JSON")
	flags.StringVar(&f.markdown, "markdown", "", "write the report as Markdown to this file too")
	flags.StringVar(&f.brokers, "brokers", "", "tell the solutions' specs on this cluster: host:port,...")
	flags.StringVar(&f.belt, "belt", "", "with --brokers: the specs of this belt alone")
	flags.IntVar(&f.side, "side", 16, "with --brokers: how many stories are told side by side")
	flags.DurationVar(&f.limit, "limit", 5*time.Minute, "with --brokers: leave longer stories out (also KATA_REAL_LIMIT)")
	flags.DurationVar(&f.within, "within", 0, "with --brokers: begin nothing that would not be at its end by then, the shortest first")
	flags.BoolVar(&f.wrong, "mistakes", false, "with --brokers: tell the mistakes")
	flags.BoolVar(&f.rest, "rest", false, "with --table: tell only what the table does not have as the same")
	flags.StringVar(&f.table, "table", "", "with --brokers: keep what runs have told in this Markdown file (and .json beside it)")
	cmd.MarkFlagsMutuallyExclusive("law", "mistake", "brokers")
	return cmd
}

func (f *checkFlags) run(cmd *cobra.Command, lessons []string) error {
	if f.brokers != "" {
		return f.onReal(cmd, lessons)
	}
	for _, name := range []string{"belt", "side", "limit", "within", "mistakes", "table", "rest"} {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s goes with --brokers", name)
		}
	}
	options := judge.Options{
		Mistake: f.mistake, Repeat: f.repeat, NoRace: !f.race, Shuffle: f.shuffle, Timeout: f.timeout, Explore: f.explore,
		Keep: f.keep, Log: cmd.ErrOrStderr(),
	}
	for _, n := range f.laws {
		law := judge.Law(n)
		if law < judge.Stub || law > judge.Surface {
			return fmt.Errorf("--law %d: there are laws 1 to 5", n)
		}
		options.Laws = append(options.Laws, law)
	}
	if f.repeat < 1 {
		return fmt.Errorf("--repeat %d: at least 1", f.repeat)
	}
	root, err := judge.FindRoot(".")
	if err != nil {
		return err
	}
	course, err := judge.Open(root, lessons...)
	if err != nil {
		return err
	}
	report, err := course.Judge(cmd.Context(), options)
	if err != nil {
		return err
	}
	if err := f.write(cmd.OutOrStdout(), report); err != nil {
		return err
	}
	if len(report.Broken) > 0 {
		return errBroken
	}
	return nil
}

func (f *checkFlags) write(out io.Writer, report *judge.Report) error {
	if f.markdown != "" {
		file, err := os.Create(f.markdown)
		if err != nil {
			return err
		}
		report.Markdown(file)
		if err := file.Close(); err != nil {
			return err
		}
	}
	if f.json {
		return report.JSON(out)
	}
	if f.mistake != "" {
		report.Show(out, f.mistake)
		return nil
	}
	report.Print(out, width(out))
	return nil
}

// width is how many columns there are to write in: COLUMNS, or the terminal's, or 100 as in the failures of specs.
func width(out io.Writer) int {
	columns, _ := strconv.Atoi(os.Getenv("COLUMNS"))
	if file, ok := out.(*os.File); ok && columns == 0 {
		columns, _, _ = term.GetSize(int(file.Fd()))
	}
	return cmp.Or(max(columns, 0), 100)
}
