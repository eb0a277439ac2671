package federation

import (
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/netlab"
)

// An administrator looks at federation, tests it and ends streams.
func TestAdministration(t *testing.T) {
	if harness.AgainstProsody() {
		t.Skip("hexmpp's own commands")
	}
	l := netlab.New(t)
	byDialback := policy{noExternal: true, certificate: expired}
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "hexmpp.example", policy: policy{mode: "mode: open, deny: [denied.example]"}},
		&server{kind: "hexmpp", domain: "other.example"},
		&server{kind: "prosody", domain: "prosody.example", policy: byDialback},
		&server{kind: "ejabberd", domain: "ejabberd.example"},
		&server{kind: "hexmpp", domain: "strict.example", policy: policy{mode: "mode: allow, allow: [other.example]"}})
	near := s[0]
	for _, row := range []struct {
		far, out, err string // err: "^$" is success
	}{
		{"other.example", `certificate(.|\n)*XEP-0198(.|\n)*all is well\n$`, "^$"},
		{"prosody.example", `certificate is not valid for prosody.example: .*expired(.|\n)*authenticated by dialback(.|\n)*all is well\n$`, "^$"},
		{"ejabberd.example", `does not take our certificate: .*ours: not-authorized \(".+"\)(.|\n)*all is well\n$`, "^$"},
		{"strict.example", `from hexmpp.example to strict.example`, `s2s probe: .*policy-violation`},
		{"conference.other.example", `all is well\n$`, "^$"},
		{"nowhere.example", `from hexmpp.example to nowhere.example`, `s2s probe: .`},
		{"denied.example", `^$`, `the configuration refuses federation with denied.example`},
	} {
		out, errs, code := near.admin("s2s", "probe", row.far)
		if !regexp.MustCompile(row.out).MatchString(out) || !regexp.MustCompile(row.err).MatchString(errs) || (code == 0) != (row.err == "^$") {
			t.Errorf("%s: status %d, errors %q\n%s", row.far, code, errs, out)
		}
		t.Logf("%s\n%s%s", row.far, out, errs)
	}
	if out, errs, code := near.admin("s2s", "probe", "--from", "conference.hexmpp.example", "other.example"); code != 0 || !strings.Contains(out, "from conference.hexmpp.example") {
		t.Errorf("from rooms: status %d, errors %q\n%s", code, errs, out)
	}
	romeo, juliet := near.client(t, "romeo"), s[1].client(t, "juliet")
	talk(romeo, juliet, "words")
	if out, _, _ := near.admin("s2s", "list"); !regexp.MustCompile(`(?m)^out other.example +\S+:5269 `).MatchString(out) {
		t.Errorf("list: %s", out)
	}
	if out, _, _ := near.admin("s2s", "close", "other.example"); !regexp.MustCompile(`^[1-9] streams with other.example are closed`).MatchString(out) {
		t.Errorf("close: %s", out)
	}
	talk(romeo, juliet, "more words")
}

// admin runs a command of hexmpp's on the host of the server.
func (s *server) admin(args ...string) (out, errs string, code int) {
	s.t.Helper()
	binary, err := harness.Binary()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := s.host.Command(binary, append(args, "--config", filepath.Join(s.dir, "hexmpp.yaml"))...)
	var text, wrong strings.Builder
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &text, &wrong
	err = cmd.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		s.t.Fatal(err)
	}
	return text.String(), wrong.String(), cmd.ProcessState.ExitCode()
}
