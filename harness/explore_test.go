package harness_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var (
	schedules = regexp.MustCompile(`(\d+) schedules explored`)
	replay    = regexp.MustCompile(`(?m)^ *again  (KATA_[A-Z]+)='([^']+)' go test .* -run (\w+)$`)
)

// tell runs some of the stories that explore, with one more variable.
func tell(t *testing.T, path, pattern string, env ...string) (out string, green bool) {
	t.Helper()
	cmd := exec.Command(path, "-all", "-test.v", "-test.run", pattern)
	cmd.Dir = badPrograms
	cmd.Env = append(cmd.Environ(), env...)
	text, err := cmd.CombinedOutput()
	return string(text), err == nil
}

func TestExploration(t *testing.T) {
	path := program(t)
	for name, test := range map[string]func(*testing.T, string){
		"finds a wrong consumer, the same way each time, and replays it": findsAWrongConsumer,
		"is green on a right consumer":                                   isGreenOnARightConsumer,
		"sweeps: it names the point and replays it":                      namesThePoint,
		"refuses a replay that is none":                                  refusesAWrongReplay,
	} {
		t.Run(name, func(t *testing.T) { test(t, path) })
	}
}

func findsAWrongConsumer(t *testing.T, path string) {
	var found [2]string
	for i := range found {
		out, green := tell(t, path, "^TestExploreEager$")
		n, again := schedules.FindStringSubmatch(out), replay.FindStringSubmatch(out)
		if green || n == nil || again == nil || !strings.Contains(out, "verdict LOST") {
			t.Fatalf("no verdict LOST with a schedule that replays it:\n%s", out)
		}
		found[i] = n[1]
		if again[1] != "KATA_SCHEDULE" || again[3] != "TestExploreEager" {
			t.Fatalf("not the command that replays it: %s", again[0])
		}
		if moves := strings.Split(again[2], ", "); len(moves) > 3 {
			t.Errorf("a schedule of up to 6 moves was not made smaller: %s", again[2])
		}
		out, green = tell(t, path, "^TestExploreEager$", "KATA_SCHEDULE="+again[2])
		if green || !strings.Contains(out, "verdict LOST") || schedules.MatchString(out) {
			t.Errorf("the schedule %s does not replay it alone:\n%s", again[2], out)
		}
	}
	if found[0] != found[1] {
		t.Errorf("it was found after %s schedules, and then after %s", found[0], found[1])
	}
}

func isGreenOnARightConsumer(t *testing.T, path string) {
	out, green := tell(t, path, "^Test(Explore|Sweep)Good$")
	if !green || !strings.Contains(out, "61 schedules explored") || !regexp.MustCompile(`[1-9]\d+ crash points swept`).MatchString(out) {
		t.Error(out)
	}
	// What breaks the wrong one does not break the right one.
	if out, green := tell(t, path, "^TestExploreGood$", "KATA_SCHEDULE=crash m1@100ms, join m2@200ms, crash m2@300ms, isolate m1@1s"); !green {
		t.Error(out)
	}
}

func namesThePoint(t *testing.T, path string) {
	out, green := tell(t, path, "^TestSweepEager$")
	again := replay.FindStringSubmatch(out)
	if green || again == nil || again[1] != "KATA_POINT" || !strings.Contains(out, "verdict LOST") {
		t.Fatalf("no verdict LOST with a point that replays it:\n%s", out)
	}
	if !strings.Contains(out, "crash  m1, "+again[2]+"\n") {
		t.Errorf("the failure does not say where m1 crashed: %s\n%s", again[2], out)
	}
	if out, green := tell(t, path, "^TestSweepEager$", "KATA_POINT="+again[2]); green || !strings.Contains(out, "crashed "+again[2]) {
		t.Errorf("%s does not replay it:\n%s", again[2], out)
	}
	if out, green := tell(t, path, "^TestSweepEager$", "KATA_POINT=before OffsetCommit 1"); !green {
		t.Errorf("a crash before anything was committed loses nothing:\n%s", out)
	}
}

func refusesAWrongReplay(t *testing.T, path string) {
	for env, says := range map[string]string{
		"KATA_SCHEDULE=crash m1":           "is no move such as 'crash m1@2.3s'",
		"KATA_SCHEDULE=jump m1@2s":         "is no move such as",
		"KATA_SCHEDULE=crash m1@2":         "missing unit",
		"KATA_SCHEDULE=crash m9@2s":        "crash m9@2s is about a member that this exploration does not have: it has 3",
		"KATA_POINT=after OffsetCommit":    "is no point such as",
		"KATA_POINT=during handle 1":       "is no point such as",
		"KATA_POINT=before OffsetCommit 0": "is no point such as",
	} {
		out, green := tell(t, path, "^Test(Explore|Sweep)Eager$", env)
		if green || !strings.Contains(out, says) {
			t.Errorf("%s:\n%s", env, out)
		}
	}
}
