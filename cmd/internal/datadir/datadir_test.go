package datadir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestServerIsNotWaitedFor(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "data")
	l, err := Acquire(t.Context(), folder, Serve)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(folder)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info, err)
	}
	_, err = Acquire(t.Context(), folder, Serve) // would wait for ever
	var held *Held
	if !errors.As(err, &held) || held.PID != os.Getpid() || held.Purpose != Serve || held.Folder != folder {
		t.Fatalf("error %v", err)
	}
	if !strings.Contains(err.Error(), "hexmpp serve") || !strings.Contains(err.Error(), folder) {
		t.Errorf("error text: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	l, err = Acquire(t.Context(), folder, User)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestCommandIsWaitedFor(t *testing.T) {
	folder := t.TempDir()
	l, err := Acquire(t.Context(), folder, User)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var held *Held
	if _, err := Acquire(ended, folder, Serve); !errors.As(err, &held) || held.Purpose != User {
		t.Fatalf("error %v", err)
	}
	got := make(chan error, 1)
	go func() {
		l, err := Acquire(context.Background(), folder, Serve)
		if err == nil {
			err = l.Release()
		}
		got <- err
	}()
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// A note that says nothing, of a lock that was just taken, is waited for.
func TestNoteIsMissing(t *testing.T) {
	folder := t.TempDir()
	l, err := Acquire(t.Context(), folder, Serve)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	for _, note := range []string{"", "x", "x y", "12"} {
		if err := os.WriteFile(filepath.Join(folder, "lock"), []byte(note), 0o600); err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Acquire(ended, folder, User)
		var held *Held
		if !errors.As(err, &held) || held.PID != 0 || !strings.Contains(err.Error(), "another process") {
			t.Errorf("note %q: %v", note, err)
		}
	}
}

func TestOneAtATime(t *testing.T) {
	folder := t.TempDir()
	var inside atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			l, err := Acquire(context.Background(), folder, User)
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside.Add(1); n != 1 {
				t.Errorf("%d hold the lock", n)
			}
			inside.Add(-1)
			if err := l.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
