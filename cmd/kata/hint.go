package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kafka-katas/kafka-katas/internal/judge"
)

func newHint() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "hint lesson step",
		Short: "Give a hint for a step, one more detail at each call",
		Long: `Hint shows the hint of a step from the lesson's README, its first paragraph at the first call and one more at each
further call. How far it has come is kept in .katas/hints.json; deleting that file begins anew.`,
		Example: "  go tool kata hint lesson07 2\n  go tool kata hint 07 2 --all",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("hint wants a lesson and a step: kata hint 07 2")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := judge.FindRoot(".")
			if err != nil {
				return err
			}
			lesson, err := number(strings.TrimPrefix(args[0], "lesson"), "lesson")
			if err != nil {
				return err
			}
			step, err := number(args[1], "step")
			if err != nil {
				return err
			}
			name := fmt.Sprintf("lesson%02d", lesson)
			paragraphs, err := hintOf(root, name, step)
			if err != nil {
				return err
			}
			seen := len(paragraphs)
			if !all {
				if seen, err = oneMore(filepath.Join(root, ".katas", "hints.json"), fmt.Sprintf("%s step %d", name, step), len(paragraphs)); err != nil {
					return err
				}
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s\n", strings.Join(paragraphs[:seen], "\n\n"))
			if left := len(paragraphs) - seen; left > 0 {
				fmt.Fprintf(out, "\n(%d of %d: the same call again says more)\n", seen, len(paragraphs))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show the whole hint")
	return cmd
}

func number(text, what string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no %s: give its number", text, what)
	}
	return n, nil
}

func hintOf(root, lesson string, step int) ([]string, error) {
	readme, err := os.ReadFile(filepath.Join(root, "katas", lesson, "README.md"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no katas/%s with a README.md", lesson)
	}
	if err != nil {
		return nil, err
	}
	paragraphs, ok := judge.Hint(string(readme), step)
	if !ok {
		return nil, fmt.Errorf("katas/%s/README.md has no step %d", lesson, step)
	}
	if len(paragraphs) == 0 {
		return nil, fmt.Errorf("step %d of %s has no hint", step, lesson)
	}
	return paragraphs, nil
}

// oneMore says how many of n paragraphs to show now, and remembers it. What cannot be read counts as nothing seen.
func oneMore(file, key string, n int) (int, error) {
	seen := map[string]int{}
	if data, err := os.ReadFile(file); err == nil {
		if json.Unmarshal(data, &seen) != nil {
			seen = map[string]int{}
		}
	}
	seen[key] = max(1, min(seen[key]+1, n))
	data, err := json.MarshalIndent(seen, "", "  ")
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return 0, err
	}
	return seen[key], os.WriteFile(file, append(data, '\n'), 0o644)
}
