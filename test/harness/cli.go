package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Output is what a run of the command line left behind.
type Output struct {
	Stdout, Stderr string
	Code           int // exit status
}

const commandWithin = 60 * time.Second

// Command runs the binary with exactly these arguments and waits for its end.
func Command(t testing.TB, args ...string) Output {
	t.Helper()
	path, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := run(t.TempDir(), path, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// CLI runs the binary with the server's configuration: CLI(t, "user", "list", "example.test").
func (s *Server) CLI(t testing.TB, args ...string) Output {
	t.Helper()
	out, err := run(s.Dir, s.binary, append(args, "--config", s.File)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// AddUser makes an account by the command line, whether or not the server runs.
func (s *Server) AddUser(jid, password string) error {
	args := []string{s.binary, "user", "add", jid, "--password", password, "--config", s.File}
	if againstProsody {
		args = s.prosodyAddUser(jid, password)
	}
	out, err := run(s.Dir, args[0], args[1:]...)
	if err != nil {
		return err
	}
	if out.Code != 0 {
		return fmt.Errorf("harness: user add %s: status %d\n%s%s", jid, out.Code, out.Stdout, out.Stderr)
	}
	return nil
}

// MustAddUser is AddUser for a test.
func (s *Server) MustAddUser(t testing.TB, jid, password string) {
	t.Helper()
	if err := s.AddUser(jid, password); err != nil {
		t.Fatal(err)
	}
}

func run(dir, path string, args ...string) (Output, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandWithin)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	err := cmd.Run()
	out := Output{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		out.Code, err = exit.ExitCode(), nil
	}
	if err != nil {
		return out, fmt.Errorf("harness: hexmpp %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}
