package interop

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// A terminal runs a full-screen program in tmux and looks at its screen.
// tmux's control mode tells whenever the program has drawn something, so that
// nothing here waits by the clock.
type terminal struct {
	t       *testing.T
	name    string
	in      io.Writer
	drawn   chan struct{} // holds one token when the screen may have changed
	replies chan []string // one for each command; closed at tmux's end
}

const tmuxConfig = `set -g default-size 160x50
set -g destroy-unattached on
set -g history-limit 0
set -g status off
`

// openTerminal runs a command in a new terminal until the test ends.
func openTerminal(t *testing.T, name string, env []string, command ...string) *terminal {
	t.Helper()
	program := harness.Require(t, "tmux", "tmux")
	dir, err := os.MkdirTemp("", "tmux") // t.TempDir's name may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	config, socket := filepath.Join(dir, "conf"), filepath.Join(dir, "s")
	if err := os.WriteFile(config, []byte(tmuxConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append([]string{"-S", socket, "-f", config, "-u", "-C", "new-session"}, command...)...)
	cmd.Env = append(env, "TERM=xterm")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("tmux: %v", err)
	}
	term := &terminal{t: t, name: name, in: in, drawn: make(chan struct{}, 1), replies: make(chan []string, 16)}
	go term.read(out) // ends with tmux, which the cleanup waits for
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("screen of %s:\n%s", name, strings.Join(term.screen(), "\n"))
		}
		io.WriteString(in, "kill-server\n")
		in.Close()
		for range term.replies {
		}
		cmd.Wait()
		os.RemoveAll(dir)
	})
	<-term.replies // of new-session
	return term
}

// read parses the lines of control mode: %begin to %end is the reply to a
// command, %output says that a pane has changed.
func (term *terminal) read(out io.Reader) {
	defer close(term.replies)
	var reply []string
	inside := false
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "%begin "):
			reply, inside = nil, true
		case strings.HasPrefix(line, "%end "), strings.HasPrefix(line, "%error "):
			inside = false
			select {
			case term.replies <- reply:
			default: // nobody asked
			}
		case inside:
			reply = append(reply, line)
		case strings.HasPrefix(line, "%output "):
			select {
			case term.drawn <- struct{}{}:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// command runs a tmux command.
func (term *terminal) command(words ...string) []string {
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	if _, err := io.WriteString(term.in, strings.Join(words, " ")+"\n"); err != nil {
		return nil
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case reply := <-term.replies:
		return reply
	case <-deadline.C:
		term.t.Errorf("tmux doesn't answer to %q", words)
		return nil
	}
}

// screen is what can be seen, without the blank ends of lines.
func (term *terminal) screen() []string { return term.command("capture-pane", "-p") }

// enter types a line and the Enter key.
func (term *terminal) enter(line string) {
	term.t.Helper()
	term.command("send-keys", "-l", "--", line)
	term.command("send-keys", "Enter")
}

// shows waits until these texts are on the screen, each below or beside the
// one before, whatever is between them.
func (term *terminal) shows(texts ...string) {
	term.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		if inOrder(strings.Join(term.screen(), "\n"), texts) {
			return
		}
		select {
		case <-term.drawn:
		case <-deadline.C:
			term.t.Fatalf("%s doesn't show %q", term.name, texts)
		}
	}
}

func inOrder(screen string, texts []string) bool {
	for _, text := range texts {
		at := strings.Index(screen, text)
		if at < 0 {
			return false
		}
		screen = screen[at+len(text):]
	}
	return true
}
