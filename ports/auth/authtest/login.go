package authtest

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func testSCRAM(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo, juliet)
	for _, h := range auth.Hashes {
		t.Run("RFC 5802 3: an exchange with "+string(h), func(t *testing.T) {
			k := keys(t, s, romeo, h)
			if err := login(h, k, "pencil"); err != nil {
				t.Error(err)
			}
			// Not among them is "pencil\x00": to HMAC it is the same key.
			for _, wrong := range []string{"", "Pencil", "pencil ", "pen", "\x00pencil"} {
				if login(h, k, wrong) == nil {
					t.Errorf("%q logs in", wrong)
				}
			}
			stored, server := scramFor(h).keys("pencil", k.Salt, k.Iterations)
			if !bytes.Equal(k.StoredKey, stored) || !bytes.Equal(k.ServerKey, server) {
				t.Errorf("StoredKey or ServerKey is not what RFC 5802 3 says")
			}
		})
		t.Run("RFC 7677 4: at least 4096 iterations with "+string(h), func(t *testing.T) {
			if k := keys(t, s, romeo, h); k.Iterations < 4096 {
				t.Errorf("%d iterations", k.Iterations)
			}
		})
	}
	t.Run("every key set has a salt of its own", func(t *testing.T) {
		var salts []string
		for _, u := range []jid.JID{romeo, juliet} { // with the same password
			for _, h := range auth.Hashes {
				salt := string(keys(t, s, u, h).Salt)
				if len(salt) < 8 || slices.Contains(salts, salt) {
					t.Errorf("salt %x of %s, %s: short or not the first one", salt, u, h)
				}
				salts = append(salts, salt)
			}
		}
	})
	t.Run("keys stay until the password changes", func(t *testing.T) {
		before := keys(t, s, romeo, auth.SHA256)
		if again := keys(t, s, romeo, auth.SHA256); !sameKeys(before, again) {
			t.Error("they differ when asked again")
		}
		if err := s.Accounts.SetPassword(ctx, romeo, "pen"); err != nil {
			t.Fatal(err)
		}
		accepts(t, s, romeo, "pen", "pen", true)
		accepts(t, s, romeo, "pencil", "pencil", false)
		if after := keys(t, s, romeo, auth.SHA256); bytes.Equal(after.Salt, before.Salt) {
			t.Error("the salt is still the one of the old password")
		}
		accepts(t, s, juliet, "pencil", "pencil", true)
	})
	t.Run("a hash that is none of SCRAM is an error", func(t *testing.T) {
		for _, u := range []jid.JID{romeo, nobody} {
			if _, err := s.Credentials.SCRAM(ctx, u, "MD5"); err == nil {
				t.Errorf("%s: no error", u)
			}
		}
	})
	t.Run("the caller's and the source's memory are apart", func(t *testing.T) {
		for _, u := range []jid.JID{romeo, nobody} {
			k := keys(t, s, u, auth.SHA1)
			want := auth.Keys{Salt: bytes.Clone(k.Salt), Iterations: k.Iterations, StoredKey: bytes.Clone(k.StoredKey), ServerKey: bytes.Clone(k.ServerKey)}
			clear(k.Salt)
			clear(k.StoredKey)
			clear(k.ServerKey)
			if !sameKeys(keys(t, s, u, auth.SHA1), want) {
				t.Errorf("%s: a caller changed the source's keys", u)
			}
		}
	})
}

func testDecoys(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo)
	strangers := []jid.JID{nobody, juliet, jid.MustParse("nobody@example.net"), jid.MustParse("юлия@example.org")}
	for _, h := range auth.Hashes {
		t.Run("RFC 6120 6.5.10: the shape of real keys with "+string(h), func(t *testing.T) {
			real := keys(t, s, romeo, h)
			for _, u := range strangers {
				k := keys(t, s, u, h)
				if len(k.Salt) != len(real.Salt) || k.Iterations != real.Iterations ||
					len(k.StoredKey) != len(real.StoredKey) || len(k.ServerKey) != len(real.ServerKey) {
					t.Errorf("%s: got %+v, a real user has %+v", u, k, real)
				}
			}
		})
		t.Run("the same each time with "+string(h), func(t *testing.T) {
			for _, u := range strangers {
				if !sameKeys(keys(t, s, u, h), keys(t, s, u, h)) {
					t.Errorf("%s: they differ when asked again", u)
				}
			}
		})
		t.Run("no password verifies with "+string(h), func(t *testing.T) {
			for _, u := range strangers {
				for _, password := range []string{"pencil", "", u.String(), u.Local()} {
					if login(h, keys(t, s, u, h), password) == nil {
						t.Errorf("%s logs in with %q", u, password)
					}
				}
			}
		})
	}
	t.Run("every user and hash has its own", func(t *testing.T) {
		seen := make(map[string]string)
		for _, u := range strangers {
			for _, h := range auth.Hashes {
				k := keys(t, s, u, h)
				for what, b := range map[string][]byte{"salt": k.Salt, "StoredKey": k.StoredKey, "ServerKey": k.ServerKey} {
					name := what + " of " + u.String() + " for " + string(h)
					// Salts are short: compare heads, so that a longer one that begins alike is found.
					head := string(b[:min(len(b), 16)])
					if other, twice := seen[head]; twice {
						t.Errorf("%s is %s", name, other)
					}
					seen[head] = name
				}
			}
		}
	})
	t.Run("other sources have others", func(t *testing.T) {
		if bytes.Equal(keys(t, s, nobody, auth.SHA1).Salt, keys(t, start(t, open), nobody, auth.SHA1).Salt) {
			t.Error("the salt of an unknown user is the same everywhere, so it tells that the user is unknown")
		}
	})
	t.Run("the decoy is back after a removal", func(t *testing.T) {
		before := keys(t, s, juliet, auth.SHA256)
		if err := s.Accounts.Create(ctx, juliet, "pencil"); err != nil {
			t.Fatal(err)
		}
		accepts(t, s, juliet, "pencil", "pencil", true)
		if err := s.Accounts.Remove(ctx, juliet); err != nil {
			t.Fatal(err)
		}
		if !sameKeys(keys(t, s, juliet, auth.SHA256), before) {
			t.Error("it is another one")
		}
	})
	t.Run("the same after a restart", func(t *testing.T) {
		if s.Restart == nil {
			t.Skip("this source can't be restarted in a test")
		}
		restarted := s.Restart(t)
		for _, h := range auth.Hashes {
			for _, u := range append(strangers, romeo) {
				if !sameKeys(keys(t, restarted, u, h), keys(t, s, u, h)) {
					t.Errorf("%s, %s: other keys", u, h)
				}
			}
		}
	})
}

func testVerifier(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo)
	for _, c := range []struct {
		name, password string
		user           jid.JID
		want           error
	}{
		{"the password", "pencil", romeo, nil},
		{"another password", "pen", romeo, auth.ErrDenied},
		{"other case", "Pencil", romeo, auth.ErrDenied},
		{"no password", "", romeo, auth.ErrDenied},
		{"a password nobody can have", "a\x00b", romeo, auth.ErrDenied},
		{"a password that is too long", strings.Repeat("p", 1<<20), romeo, auth.ErrDenied},
		{"an unknown user", "pencil", nobody, auth.ErrDenied},
		{"an unknown user, no password", "", nobody, auth.ErrDenied},
		{"a known localpart at another domain", "pencil", jid.MustParse("romeo@example.net"), auth.ErrDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := s.Verifier.VerifyPassword(ctx, c.user, c.password)
			if c.want == nil {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			is(t, "VerifyPassword", err, c.want)
			if c.password != "" && strings.Contains(err.Error(), c.password) {
				t.Error("the error holds the password")
			}
		})
	}
}

func testDisabled(t *testing.T, open Open) {
	s := start(t, open, romeo)
	if s.SetDisabled == nil {
		t.Skip("this source can't disable accounts in a test")
	}
	before := make(map[auth.Hash]auth.Keys)
	for _, h := range auth.Hashes {
		before[h] = keys(t, s, romeo, h)
	}
	s.SetDisabled(t, romeo, true)
	accepts(t, s, romeo, "pencil", "pencil", false)
	for _, h := range auth.Hashes {
		k := keys(t, s, romeo, h)
		if !sameKeys(k, keys(t, s, romeo, h)) {
			t.Errorf("%s: decoys differ when asked again", h)
		}
		if len(k.Salt) != len(before[h].Salt) || k.Iterations != before[h].Iterations || len(k.StoredKey) != len(before[h].StoredKey) {
			t.Errorf("%s: got %+v, the shape is another one", h, k)
		}
		if bytes.Equal(k.StoredKey, before[h].StoredKey) || bytes.Equal(k.ServerKey, before[h].ServerKey) {
			t.Errorf("%s: a disabled account gives its real keys", h)
		}
	}
	if a, err := s.Accounts.Get(t.Context(), romeo); err != nil || !a.Disabled {
		t.Errorf("Get: got %+v, %v", a, err)
	}
	s.SetDisabled(t, romeo, false)
	accepts(t, s, romeo, "pencil", "pencil", true)
}

func testPasswords(t *testing.T, open Open) {
	ctx := t.Context()
	s := start(t, open, romeo)
	for _, c := range []struct{ name, set, prepared, typed string }{
		{"RFC 8265 4.2: as it is", "correct horse battery staple", "correct horse battery staple", "correct horse battery staple"},
		{"RFC 8265 4.2: beyond ASCII", "πßå", "πßå", "πßå"},
		{"RFC 8265 4.2: symbols", "Jack of ♦s", "Jack of ♦s", "Jack of ♦s"},
		{"RFC 8265 4.2: other spaces become U+0020", "foo\u1680bar", "foo bar", "foo\u00a0bar"},
		{"RFC 8265 4.2: NFC", "e\u0301te\u0301", "\u00e9t\u00e9", "\u00e9te\u0301"},
		{"RFC 5802 3: one half is not taken apart", "\u00bd\u00b4", "\u00bd\u00b4", "\u00bd\u00b4"},
		{"RFC 8265 4.2: width and case stay", "Ａａ", "Ａａ", "Ａａ"},
		{"one byte", "x", "x", "x"},
		{"1023 bytes", strings.Repeat("x", 1023), strings.Repeat("x", 1023), strings.Repeat("x", 1023)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := s.Accounts.SetPassword(ctx, romeo, c.set); err != nil {
				t.Fatal(err)
			}
			accepts(t, s, romeo, c.set, c.prepared, true)
			accepts(t, s, romeo, c.typed, c.prepared, true)
			accepts(t, s, romeo, c.set+"x", c.prepared+"x", false)
		})
	}
	if err := s.Accounts.SetPassword(ctx, romeo, "pencil"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, password string }{
		{"empty", ""},
		{"a zero byte", "a\x00b"},
		{"a control character", "my\u0009cat"},
		{"no UTF-8", "a\xffb"},
		{"unassigned", "a\U000e0fffb"},
		{"1024 bytes", strings.Repeat("x", 1024)},
		{"a mebibyte", strings.Repeat("x", 1<<20)},
	} {
		t.Run("ErrPassword: "+c.name, func(t *testing.T) {
			is(t, "Create", s.Accounts.Create(ctx, nobody, c.password), auth.ErrPassword)
			_, err := s.Accounts.Get(ctx, nobody)
			is(t, "Get", err, auth.ErrNotFound)
			err = s.Accounts.SetPassword(ctx, romeo, c.password)
			is(t, "SetPassword", err, auth.ErrPassword)
			if err != nil && c.password != "" && strings.Contains(err.Error(), c.password) {
				t.Error("the error holds the password")
			}
			is(t, "VerifyPassword", s.Verifier.VerifyPassword(ctx, romeo, c.password), auth.ErrDenied)
		})
	}
	accepts(t, s, romeo, "pencil", "pencil", true)
}

func sameKeys(a, b auth.Keys) bool {
	return bytes.Equal(a.Salt, b.Salt) && a.Iterations == b.Iterations &&
		bytes.Equal(a.StoredKey, b.StoredKey) && bytes.Equal(a.ServerKey, b.ServerKey)
}
