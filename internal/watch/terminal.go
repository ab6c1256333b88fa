package watch

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

// Terminal shows a session in a terminal that is redrawn, until q is pressed or ctx ends. Colour follows the terminal and
// NO_COLOR.
func Terminal(ctx context.Context, s *Session, in io.Reader, out io.Writer) error {
	return TerminalWith(ctx, s, Extra{}, in, out)
}

// Extra is what a dojo adds to a terminal.
type Extra struct {
	Header func() string                   // the first line, anew each second
	Key    func(key string) (Notice, bool) // takes a key before the board does
	Event  func(Event) Notice              // hears what the session tells
	Bell   func() bool                     // is asked each second whether to ring
	Keys   string                          // more keys, for the last line
}

// Notice is a line for the learner, "" for none. What takes its time is done later, and then has a line too: the screen goes on.
type Notice struct {
	Text  string
	Later func() string
}

// TerminalWith is Terminal with more.
func TerminalWith(ctx context.Context, s *Session, x Extra, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events, wishes := s.Start(ctx)
	m := &model{board: NewBoard(s.Desk, s.Lesson), events: events, wishes: wishes, extra: x, width: 80, height: 24, plain: os.Getenv("NO_COLOR") != ""}
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out)).Run()
	stop()
	for range events { // until nothing runs any more
	}
	if ctx.Err() != nil && err != nil && context.Cause(ctx) == context.Canceled {
		return nil
	}
	return err
}

// model is what the terminal shows of a board.
type model struct {
	board  *Board
	events <-chan Event
	wishes chan<- Wish
	extra  Extra

	width, height int
	top           int // the first line of the body that is shown
	plain         bool
}

type ended struct{}

type second struct{}

func (m *model) Init() tea.Cmd {
	if m.extra.Header != nil {
		return tea.Batch(m.listen, tick())
	}
	return m.listen
}

func tick() tea.Cmd { return tea.Tick(time.Second, func(time.Time) tea.Msg { return second{} }) }

// listen waits for the session's next event.
func (m *model) listen() tea.Msg {
	e, ok := <-m.events
	if !ok {
		return ended{}
	}
	return e
}

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = max(msg.Width, 20), max(msg.Height, 8)
	case Event:
		m.board.Take(msg)
		cmd := tea.Cmd(m.listen)
		if m.extra.Event != nil {
			cmd = tea.Batch(cmd, m.notice(m.extra.Event(msg)))
		}
		if msg.Started || msg.Verdict != nil {
			m.top = 0
		}
		return m, cmd
	case Notice:
		return m, m.notice(msg)
	case second:
		if m.extra.Bell != nil && m.extra.Bell() {
			return m, tea.Batch(tea.Raw("\a"), tick())
		}
		return m, tick()
	case ended:
		return m, tea.Quit
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

// notice shows a line, and has done what takes its time.
func (m *model) notice(n Notice) tea.Cmd {
	if n.Text != "" {
		m.board.Tell(n.Text)
	}
	if n.Later == nil {
		return nil
	}
	return func() tea.Msg { return Notice{Text: n.Later()} }
}

func (m *model) key(key string) tea.Cmd {
	if m.extra.Key != nil {
		if notice, ok := m.extra.Key(key); ok {
			return m.notice(notice)
		}
	}
	page := m.height - m.frame()
	switch key {
	case "up", "k":
		m.top--
	case "down", "j":
		m.top++
	case "pgup", "b":
		m.top -= page
	case "pgdown", "space":
		m.top += page
	case "home", "g":
		m.top = 0
	default:
		m.top = 0
		wish, wished, quit := m.board.Press(key)
		if quit {
			return tea.Quit
		}
		if wished {
			m.wishes <- wish
		}
	}
	m.top = max(0, min(m.top, len(m.body())-page))
	return nil
}

// frame is how many lines are around the body.
func (m *model) frame() int { return len(m.head()) + 2 }

var (
	red    = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)
	green  = lipgloss.NewStyle().Foreground(lipgloss.Green).Bold(true)
	faint  = lipgloss.NewStyle().Faint(true)
	strong = lipgloss.NewStyle().Bold(true)
)

// paint colours text, unless there is to be no colour: then the words alone say it.
func (m *model) paint(s lipgloss.Style, text string) string {
	if m.plain {
		return text
	}
	return s.Render(text)
}

func (m *model) head() []string {
	b := m.board
	var lines []string
	if m.extra.Header != nil {
		lines = append(lines, m.paint(strong, m.extra.Header()))
	}
	title := "Lesson " + b.Lesson.Short() + "  " + b.Lesson.Title
	lines = append(lines, m.paint(strong, title))
	if belts := b.Belts(); belts != "" {
		lines = append(lines, belts)
	}
	state := b.State()
	style := faint
	switch {
	case b.Running:
	case strings.HasPrefix(state, "GREEN"):
		style = green
	case strings.HasPrefix(state, "RED"), strings.HasPrefix(state, "NOT"):
		style = red
	}
	line := m.paint(style, state)
	if s := b.Step(); s != nil {
		line += fmt.Sprintf("  step %d: %s", s.Number, s.Title)
	} else {
		line += "  every step is green"
	}
	if v := b.Verdict; v != nil && !b.Running {
		line += fmt.Sprintf("  (%.1fs)", v.Took.Seconds())
	}
	lines = append(lines, line)
	for _, notice := range []string{b.Notice, b.Polling} {
		if notice != "" && notice != b.Body() {
			first, _, _ := strings.Cut(notice, "\n")
			lines = append(lines, m.paint(faint, first))
		}
	}
	return append(lines, strings.Repeat("-", m.width))
}

// body is the middle in lines that fit.
func (m *model) body() []string { return Fit(m.board.Body(), m.width) }

func (m *model) View() tea.View {
	var lines []string
	for _, line := range m.head() {
		lines = append(lines, ansi.Truncate(line, m.width, "…"))
	}
	body := m.body()
	room := max(1, m.height-len(lines)-2)
	top := max(0, min(m.top, len(body)-room))
	shown := body[top:min(len(body), top+room)]
	for _, line := range shown {
		lines = append(lines, m.tint(line))
	}
	for len(lines) < m.height-2 {
		lines = append(lines, "")
	}
	more := ""
	if left := len(body) - top - len(shown); left > 0 {
		more = fmt.Sprintf("(%d more lines: down, space)", left)
		if left == 1 {
			more = "(1 more line: down)"
		}
	} else if top > 0 {
		more = "(up)"
	}
	lines = append(lines, m.paint(faint, more), ansi.Truncate(m.paint(faint, m.extra.Keys+Keys), m.width, ""))
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	v.WindowTitle = "kata " + m.board.Lesson.Short() + " " + m.board.State()
	return v
}

// tint colours a line of the body by what it says.
func (m *model) tint(line string) string {
	v := m.board.Verdict
	switch {
	case m.board.Page == DiffPage && strings.HasPrefix(line, "+"):
		return m.paint(green, line)
	case m.board.Page == DiffPage && strings.HasPrefix(line, "-"):
		return m.paint(red, line)
	case v != nil && v.Word != "" && strings.HasPrefix(line, v.Word+": "):
		return m.paint(red, line)
	case v != nil && v.FirstRed != "" && line == lesson.Promise(v.FirstRed) && v.Colour == verdict.Red:
		return m.paint(strong, line)
	}
	return line
}

// Fit breaks text into lines of a width. What is prose or a list is wrapped; a timeline and code are cut, since they mean
// nothing when they are broken.
func Fit(text string, width int) []string {
	var out []string
	table := false
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\t", "    "), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "":
			table = false
		case strings.HasPrefix(trimmed, "time ") || strings.HasPrefix(trimmed, "```") || strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "diff "):
			table = true
		}
		if ansi.StringWidth(line) <= width {
			out = append(out, line)
			continue
		}
		if table {
			out = append(out, ansi.Truncate(line, width, "…"))
			continue
		}
		margin := hanging(line)
		// What was wrapped for a wider screen is one paragraph.
		for i+1 < len(lines) && continues(lines[i+1], margin) {
			i++
			line += " " + strings.TrimSpace(lines[i])
		}
		if margin > width/2 {
			margin = 0
		}
		first, _, _ := strings.Cut(ansi.Wrap(line, width, ""), "\n") // a word that is too long for a line is broken: a path
		out = append(out, first)
		rest := strings.TrimPrefix(line, first)
		if rest = strings.Join(strings.Fields(rest), " "); rest != "" {
			for part := range strings.SplitSeq(ansi.Wrap(rest, width-margin, ""), "\n") {
				out = append(out, strings.Repeat(" ", margin)+part)
			}
		}
	}
	return out
}

// continues tells that a line goes on with the paragraph before it, whose text begins at margin.
func continues(line string, margin int) bool {
	text := strings.TrimLeft(line, " ")
	return text != "" && len(line)-len(text) == margin && hanging(line) == margin && !strings.HasPrefix(text, "- ") && !begins.MatchString(text)
}

// begins is how a compiler's error and another verdict begin.
var begins = regexp.MustCompile(`^(\S+\.go:\d+|[A-Z][A-Z -]+: )`)

// hanging is where a line's text begins: behind its margin, a list's sign, or a label such as "why    ".
func hanging(line string) int {
	n := len(line) - len(strings.TrimLeft(line, " "))
	rest := line[n:]
	if strings.HasPrefix(rest, "- ") {
		return n + 2
	}
	if i := strings.Index(rest, "  "); i > 0 && i < 10 {
		return n + i + len(rest[i:]) - len(strings.TrimLeft(rest[i:], " "))
	}
	return n
}
