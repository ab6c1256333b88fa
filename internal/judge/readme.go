package judge

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	stepHeading = regexp.MustCompile(`^#{2,5} +Step +(\d+)\b`)
	heading     = regexp.MustCompile(`^#{1,6} `)
	details     = regexp.MustCompile(`(?is)<details[^>]*>(.*?)</details>`)
	summary     = regexp.MustCompile(`(?is)<summary[^>]*>(.*?)</summary>`)
)

// stepSections are the sections of a README that begin with "### Step NN". A step's section ends at the next heading.
func stepSections(readme string) map[int]string {
	out := map[int]string{}
	step, fenced := -1, false
	for line := range strings.Lines(readme) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		if !fenced && heading.MatchString(line) {
			step = -1
			if m := stepHeading.FindStringSubmatch(line); m != nil {
				step, _ = strconv.Atoi(m[1])
				out[step] = ""
			}
			continue
		}
		if step >= 0 {
			out[step] += line
		}
	}
	return out
}

// hasHint looks for a folded hint with something in it.
func hasHint(section string) bool {
	for _, d := range details.FindAllStringSubmatch(section, -1) {
		title := summary.FindStringSubmatch(d[1])
		if title == nil || !strings.Contains(strings.ToLower(title[1]), "hint") {
			continue
		}
		if strings.TrimSpace(summary.ReplaceAllString(d[1], "")) != "" {
			return true
		}
	}
	return false
}
