package sql

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// These make this test binary the child of a test that kills it: the path of
// its file, or the DSN of its database.
const (
	childPath = "HEXMPP_TEST_KILL"
	childDSN  = "HEXMPP_TEST_KILL_DSN"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		commitUntilKilled(Options{Path: path})
		return
	}
	if dsn := os.Getenv(childDSN); dsn != "" {
		commitUntilKilled(Options{Driver: Postgres, DSN: dsn})
		return
	}
	goleak.VerifyTestMain(m)
}

// commitUntilKilled prints the key of each entry after its commit.
func commitUntilKilled(o Options) {
	s, err := New(context.Background(), o, zap.NewNop())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := range 8 {
		go func() {
			for n := 0; ; n++ {
				key := fmt.Sprint(i, "/", n)
				value := []byte(strings.Repeat(key, 50))
				if err := s.Commit(context.Background(), storage.Writes{Ops: []storage.Op{{Space: "s", Key: key, Value: value}}}); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println("committed", key) // one write(2)
			}
		}()
	}
	select {}
}

// What was committed survives kill -9, three times over on the same file.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hexmpp.db")
	for round := range 3 {
		committed := killAfter(t, childPath+"="+path, 300, nil)
		s := openTest(t, Options{Path: path})
		allThere(t, s, committed)
		var check string
		if err := s.readers.Get(&check, "PRAGMA integrity_check"); err != nil || check != "ok" {
			t.Errorf("round %d: integrity_check: %q, %v", round, check, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// allThere fails the test unless what the child told of is in the store.
func allThere(t *testing.T, s *Store, committed []string) {
	t.Helper()
	for _, key := range committed {
		e, err := s.Get(t.Context(), "s", jid.JID{}, key)
		if err != nil || string(e.Value) != strings.Repeat(key, 50) {
			t.Fatalf("%s was committed; got %q, %v", key, e.Value, err)
		}
	}
}

// killAfter runs the child, with this in its environment, until it has told of
// n commits, kills it, and returns all it told of, also what was on its way.
// If there is something else to kill, that is killed instead, and the child
// when it has noticed.
func killAfter(t *testing.T, env string, n int, instead func()) (committed []string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe)
	child.Env = append(os.Environ(), env)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		key, ok := strings.CutPrefix(lines.Text(), "committed ")
		if !ok {
			if instead == nil || len(committed) < n {
				t.Errorf("the child says %q", lines.Text())
			}
			break
		}
		if committed = append(committed, key); len(committed) == n {
			if instead != nil {
				instead()
				continue
			}
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	child.Process.Kill() // again, in case that it failed
	child.Wait()         // says that it was killed
	if len(committed) < n {
		t.Fatalf("only %d commits", len(committed))
	}
	return committed
}
