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

// Hint is the folded hint of a step, by paragraphs from the vaguest to the most concrete. ok tells whether there is such
// a step.
func Hint(readme string, step int) (paragraphs []string, ok bool) {
	section, ok := stepSections(readme)[step]
	for _, d := range details.FindAllStringSubmatch(section, -1) {
		title := summary.FindStringSubmatch(d[1])
		if title == nil || !strings.Contains(strings.ToLower(title[1]), "hint") {
			continue
		}
		paragraphs = append(paragraphs, paragraphsOf(summary.ReplaceAllString(d[1], ""))...)
	}
	return paragraphs, ok
}

// paragraphsOf splits Markdown at blank lines, but keeps a fenced block with the paragraph before it.
func paragraphsOf(text string) (out []string) {
	fenced, open := false, false
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		blank := strings.TrimSpace(line) == ""
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		switch {
		case blank && !fenced:
			open = false
			continue
		case fence && !fenced && len(out) > 0 && !open:
			out[len(out)-1] += "\n"
		case !open && !fenced:
			out = append(out, "")
		}
		out[len(out)-1] += line
		open = true
		fenced = fenced != fence
	}
	for i := range out {
		out[i] = strings.TrimRight(out[i], "\n")
	}
	return out
}
