package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kafka-katas/kafka-katas/internal/judge"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// onReal compares the in-memory Kafka with a real cluster.
func (f *checkFlags) onReal(cmd *cobra.Command, lessons []string) error {
	root, err := judge.FindRoot(".")
	if err != nil {
		return err
	}
	course, err := judge.Open(root, lessons...)
	if err != nil {
		return err
	}
	options := judge.RealOptions{Brokers: f.brokers, Side: f.side, Limit: f.limit, Within: f.within, Wrong: f.wrong, Log: cmd.ErrOrStderr()}
	if text := os.Getenv("KATA_REAL_LIMIT"); text != "" && !cmd.Flags().Changed("limit") {
		if options.Limit, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("KATA_REAL_LIMIT: %w", err)
		}
	}
	if f.belt != "" {
		if options.Keep, err = ofBelt(root, f.belt); err != nil {
			return err
		}
	}
	if f.rest {
		if options.Told, err = judge.TableAt(f.table).Same(); err != nil {
			return err
		}
	}
	report, err := course.OnReal(cmd.Context(), options)
	if err != nil {
		return err
	}
	if f.table != "" {
		if err := judge.TableAt(f.table).Add(root, report); err != nil {
			return err
		}
	}
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
		err = report.JSON(cmd.OutOrStdout())
	} else {
		report.Print(cmd.OutOrStdout())
	}
	if err == nil && !report.Holds() {
		return errBroken
	}
	return err
}

// ofBelt says which steps of which lesson are of the belt.
func ofBelt(root, belt string) (func(name string, step int) bool, error) {
	all, err := lesson.All(root)
	if err != nil {
		return nil, err
	}
	belts, found := map[string]map[int]bool{}, false
	for _, l := range all {
		belts[l.Name] = map[int]bool{}
		for _, s := range l.Steps {
			belts[l.Name][s.Number] = strings.EqualFold(s.Belt, belt)
			found = found || belts[l.Name][s.Number]
		}
	}
	if !found {
		return nil, fmt.Errorf("no lesson has a belt %q", belt)
	}
	return func(name string, step int) bool { return belts[name][step] }, nil
}
