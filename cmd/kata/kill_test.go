//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kill -9 at any moment of a command that writes: what the learner has written is in its place or in a backup, whole; what was
// noted stays noted; and the same command succeeds afterwards. (internal/reset and internal/history kill at each of their steps.)
func TestAKillAtAnyMomentLosesNoWork(t *testing.T) {
	if testing.Short() {
		t.Skip("a hundred processes")
	}
	for _, c := range []struct {
		line  string
		kills int
		after func(t *testing.T, root string)
	}{
		{"reset 07", 40, func(t *testing.T, root string) {
			if text, err := os.ReadFile(filepath.Join(root, "katas/lesson07/a.go")); err != nil || !strings.Contains(string(text), "not written yet") {
				t.Errorf("the stub is not back: %s, %v", text, err)
			}
		}},
		{"hint 07 1", 30, nil},
		{"predict red lost 2", 20, nil},
	} {
		t.Run(c.line, func(t *testing.T) {
			root := aGitCourse(t)
			words := strings.Fields(c.line)
			run := func(kill time.Duration) (took time.Duration) {
				cmd := exec.Command("kata", words...)
				cmd.Dir = root
				began := time.Now()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if kill > 0 {
					late := time.AfterFunc(kill, func() { _ = cmd.Process.Kill() })
					defer late.Stop()
				}
				err := cmd.Wait()
				if err != nil && kill == 0 {
					t.Errorf("after a kill it fails: %v", err)
				}
				return time.Since(began)
			}
			work := func(n int) []string {
				mine := []string{fmt.Sprintf("package lesson07 // my answer %d\n", n), fmt.Sprintf("package lesson07 // a file of my own %d\n", n)}
				for i, name := range []string{"a.go", "mine.go"} {
					if err := os.WriteFile(filepath.Join(root, "katas/lesson07", name), []byte(mine[i]), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				return mine
			}
			work(0)
			lasts := run(0)
			for i := range c.kills {
				mine := work(i + 1)
				before := noted(t, root)
				// From its start to somewhat behind its end, evenly.
				run(time.Millisecond/2 + lasts*time.Duration(i)*5/4/time.Duration(c.kills))
				for _, text := range mine {
					if !somewhere(t, root, text) {
						t.Errorf("kill %d: %q is nowhere", i, text)
					}
				}
				if now := noted(t, root); now < before {
					t.Errorf("kill %d: of %d runs %d are left", i, before, now)
				}
				for _, file := range []string{"progress.json", "prediction.json"} {
					if text, err := os.ReadFile(filepath.Join(root, ".katas", file)); err == nil && !json.Valid(text) {
						t.Errorf("kill %d: half of %s is there: %s", i, file, text)
					}
				}
			}
			run(0)
			if c.after != nil {
				c.after(t, root)
			}
		})
	}
}

// aGitCourse is a small course that a learner has cloned.
func aGitCourse(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git here")
	}
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                      "module course\n\ngo 1.26\n",
		".gitignore":                  "/.katas/\n",
		"katas/lesson07/README.md":    "# Lesson 07: Groups\n\n### Step 01: It begins\n\n<details><summary>Hint</summary>\n\nOne.\n\nTwo.\n\n</details>\n",
		"katas/lesson07/a.go":         "package lesson07\n\n// TODO: \"lesson07: A is not written yet\"\n",
		"katas/lesson07/step_test.go": "package lesson07\n\nimport \"testing\"\n\nfunc TestStep01_ItBegins(t *testing.T) {}\n",
		"solutions/lesson07/a.go":     "package lesson07\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{"init -q", "config user.name Course", "config user.email course@example.com", "add -A", "commit -qm course", "config user.email learner@example.com"} {
		cmd := exec.Command("git", strings.Fields(line)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", line, err, out)
		}
	}
	return root
}

// noted counts the whole lines of the log.
func noted(t *testing.T, root string) (n int) {
	text, err := os.ReadFile(filepath.Join(root, ".katas/log.ndjson"))
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if json.Valid(lines.Bytes()) {
			n++
		}
	}
	return n
}

// somewhere looks for a whole file of this text.
func somewhere(t *testing.T, root, want string) (yes bool) {
	t.Helper()
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if err == nil && d.Type().IsRegular() && !yes {
			text, _ := os.ReadFile(path)
			yes = string(text) == want
		}
		return nil
	})
	return yes
}
