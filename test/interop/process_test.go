package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// patience ends what hopeless clients wait for; nothing is asserted on time.
const patience = 40 * time.Second

// A process is a client that runs beside the test: lines go in and come out.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // standard output, closed at its end

	mu     sync.Mutex
	output []byte // standard error
}

// begin starts a client in a home folder of its own. It is killed with the test at the latest.
func begin(t *testing.T, name string, env []string, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, lines: make(chan string, 1000)}
	ctx, cancel := context.WithCancel(context.Background())
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Env = append(home(t), env...)
	p.cmd.Stderr = p
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go p.read(out)
	t.Cleanup(func() {
		cancel()
		p.in.Close()
		for range p.lines { // to the end, so that read ends too
		}
		p.cmd.Wait()
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("%s wrote to standard error:\n%s", name, p.output)
		}
	})
	return p
}

// home is an environment in which a client finds nothing of ours.
func home(t *testing.T) []string {
	dir := t.TempDir()
	return []string{
		"HOME=" + dir, "XDG_CONFIG_HOME=" + dir + "/config", "XDG_DATA_HOME=" + dir + "/data", "XDG_CACHE_HOME=" + dir + "/cache",
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "LC_ALL=C.UTF-8",
		"PYTHONDONTWRITEBYTECODE=1", // scripts that import one another would leave their bytecode in testdata
	}
}

// Write takes standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.output = append(p.output, b...)
	return len(b), nil
}

// read ends with the process's output, which begin's cleanup waits for.
func (p *process) read(out io.Reader) {
	defer close(p.lines)
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			p.lines <- line
		}
		if err != nil {
			return
		}
	}
}

// say writes a line to the client's standard input.
func (p *process) say(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// line is the next line that the client prints; ok is false at its end.
func (p *process) line() (text string, ok bool) {
	p.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case text, ok = <-p.lines:
		return text, ok
	case <-deadline.C:
		p.t.Fatalf("%s says nothing", p.name)
		return "", false
	}
}

// event is what the Python clients print.
type event struct {
	Event     string
	JID       string
	From      string
	Type      string
	Body      string
	Condition string
	Roster    string
	Version   string
	Pong      bool
	Fields    []string
	IDs       []string

	Subscription string
	Ask          string
	Name         string
	Seconds      int

	Role        string
	Affiliation string
	Codes       []int
	Reason      string
	Nick        string
	ID          string
}

// await reads events until one of that name comes.
func (p *process) await(name string) event {
	p.t.Helper()
	for {
		text, ok := p.line()
		if !ok {
			p.t.Fatalf("%s ended while it should say %q", p.name, name)
		}
		var e event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			p.t.Fatalf("%s: %q: %v", p.name, text, err)
		}
		if e.Event == name {
			return e
		}
		p.t.Logf("%s: %s", p.name, text)
	}
}

// end waits until the client has left.
func (p *process) end() (rest []string) {
	p.t.Helper()
	for {
		text, ok := p.line()
		if !ok {
			return rest
		}
		rest = append(rest, text)
	}
}
