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

// childPath makes this test binary the child of TestKill.
const childPath = "HEXMPP_TEST_KILL"

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		commitUntilKilled(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// commitUntilKilled prints the key of each entry after its commit.
func commitUntilKilled(path string) {
	s, err := New(context.Background(), Options{Path: path}, zap.NewNop())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := range 8 {
		go func() {
			for n := 0; ; n++ {
				key := fmt.Sprint(i, "/", n)
				value := []byte(strings.Repeat(key, 50))
				if err := s.Commit(context.Background(), []storage.Op{{Space: "s", Key: key, Value: value}}); err != nil {
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
		committed := killAfter(t, path, 300)
		s := openTest(t, Options{Path: path})
		for _, key := range committed {
			e, err := s.Get(t.Context(), "s", jid.JID{}, key)
			if err != nil || string(e.Value) != strings.Repeat(key, 50) {
				t.Fatalf("round %d: %s was committed; got %q, %v", round, key, e.Value, err)
			}
		}
		var check string
		if err := s.readers.Get(&check, "PRAGMA integrity_check"); err != nil || check != "ok" {
			t.Errorf("round %d: integrity_check: %q, %v", round, check, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killAfter runs the child until it has told of n commits, kills it, and
// returns all it told of, also what was on its way.
func killAfter(t *testing.T, path string, n int) (committed []string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe)
	child.Env = append(os.Environ(), childPath+"="+path)
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
			t.Errorf("the child says %q", lines.Text())
			break
		}
		if committed = append(committed, key); len(committed) == n {
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
