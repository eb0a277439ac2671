package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// try runs a case against a server.
func try(t *testing.T, s *harness.Server, name string, flags ...string) (out string, err error) {
	t.Helper()
	var text, log strings.Builder
	args := append([]string{name, "-addr", s.C2S, "-domain", s.Domain, "-pid", fmt.Sprint(s.PID()), "-limit", "1m"}, flags...)
	err = run(t.Context(), args, &text, &log)
	t.Logf("%s%s", log.String(), text.String())
	return text.String(), err
}

// Each case runs, and finds nothing wrong with the server; small figures, which say
// nothing.
func TestCases(t *testing.T) {
	s := harness.Start(t, harness.Config{ClearText: true, Registration: "open"})
	for _, c := range []struct{ flags, want string }{
		{"register -n 40", "accounts=40 there_before=0"},
		{"register -n 2", "accounts=2 there_before=2"},
		{"chat -pairs 5 -messages 100", "messages=550 lost=0 doubled=0 reordered=0 refused=0"},
		{"chat -pairs 2 -messages 20 -tls starttls -sources 3", "messages=44 lost=0"},
		{"offline -senders 5 -recipients 10 -messages 40", "messages=200 lost=0 doubled=0 reordered=0 refused=0"},
		{"plugins -what plain -pairs 4 -rate 2000 -for 300ms", "lost=0 doubled=0 reordered=0 refused=0"},
		{"plugins -what direct -pairs 10 -rate 2000 -for 300ms", "lost=0 doubled=0 reordered=0 refused=0"},
		{"soak -idle 10 -busy 4 -for 500ms -rate 100 -growth -1", "ended=0"},
	} {
		t.Run(c.flags, func(t *testing.T) {
			f := strings.Fields(c.flags)
			if out, err := try(t, s, f[0], f[1:]...); err != nil || !strings.Contains(out, " "+c.want) {
				t.Errorf("%v; want %s", err, c.want)
			}
		})
	}
}

// A case fails where messages are lost: here they come back, since nothing is stored.
func TestCaseThatFails(t *testing.T) {
	s := harness.Start(t, harness.Config{ClearText: true, Registration: "open", Limits: harness.Limits{OfflineMessages: -1}})
	if _, err := try(t, s, "register", "-n", "4"); err != nil {
		t.Fatal(err)
	}
	if out, err := try(t, s, "offline", "-senders", "2", "-recipients", "2", "-messages", "5"); err == nil || !strings.Contains(out, " refused=10") {
		t.Errorf("%v: %s", err, out)
	}
}

// What a recipient counts.
func TestArrivals(t *testing.T) {
	l := &load{run: "run", size: 60}
	a := l.arrivals(nil)
	for _, n := range []int{1, 2, 2, 4, 5, 3, 3, 8} {
		a.handle(l.message("x@y", 7, n))
	}
	a.handle(l.message("x@y", 9, 1))
	a.handle([]byte("<message type='error'><body>run 7 6 1s</body></message>"))
	a.handle([]byte("<message><body>other 7 6 1s</body></message>"))
	a.handle([]byte("<presence/>"))
	got, took := a.count()
	if want := (tally{got: 7, doubled: 2, reordered: 1, refused: 1}); got != want || len(took) != 7 {
		t.Errorf("%+v, %d latencies; want %+v", got, len(took), want)
	}
	if n := len(l.message("x@y", 7, 1)); n < 60 {
		t.Errorf("%d bytes", n)
	}
}
