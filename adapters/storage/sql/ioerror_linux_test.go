package sql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// limitPath makes this test binary the child of TestWriteError.
const limitPath = "HEXMPP_TEST_LIMIT"

// A write(2) that really fails, here over a limit on the size of files, which
// is what a quota looks like: the write is refused, nothing is damaged, and
// the store works again as soon as the limit is lifted.
func TestWriteError(t *testing.T) {
	if path := os.Getenv(limitPath); path != "" {
		writeOverLimit(t, path)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe, "-test.run=^TestWriteError$", "-test.v")
	child.Env = append(os.Environ(), limitPath+"="+filepath.Join(t.TempDir(), "hexmpp.db"))
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "the store works again") {
		t.Errorf("%v\n%s", err, out)
	}
}

func writeOverLimit(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ) // else it ends the process
	s, err := New(t.Context(), Options{Path: path}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "before")
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 512 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		unavailable(t, "over the limit", put(s, fmt.Sprint("big ", i), 1<<20), "failed to read or write")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := put(s, "after", 1<<20); err != nil {
		t.Errorf("with the limit lifted: %v", err)
	}
	for key, want := range map[string]bool{"before": true, "big 0": false, "after": true} {
		if has(t, s, key) != want {
			t.Errorf("%q is there: %v", key, !want)
		}
	}
	var check string
	if err := s.readers.Get(&check, "PRAGMA integrity_check"); err != nil || check != "ok" {
		t.Errorf("integrity_check: %q, %v", check, err)
	}
	if err := s.Commit(context.Background(), storage.Writes{Ops: []storage.Op{{Space: "s", Key: "after", If: true}}}); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("a conflict: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !t.Failed() {
		fmt.Println("the store works again")
	}
}
