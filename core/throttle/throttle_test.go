package throttle

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var (
	epoch     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	juliet    = jid.MustParse("juliet@example.test")
	romeo     = jid.MustParse("romeo@example.test")
	home      = netip.MustParseAddr("192.0.2.1")
	elsewhere = netip.MustParseAddr("198.51.100.7")
)

// attacker returns one of many addresses.
func attacker(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func user(i int) jid.JID { return jid.MustParse(fmt.Sprintf("u%d@example.test", i)) }

// guess makes one attempt with a wrong password, and waits for its answer.
func guess(t *Throttle, a netip.Addr, u jid.JID, now time.Time) (delay time.Duration, refused bool) {
	delay, refused = t.Attempt(a, u, now)
	if !refused {
		t.Failed(a, u, now)
	}
	return delay, refused
}

func login(t *Throttle, a netip.Addr, u jid.JID, now time.Time) (delay time.Duration, refused bool) {
	delay, refused = t.Attempt(a, u, now)
	if !refused {
		t.Succeeded(a, u, now)
	}
	return delay, refused
}

func wantPass(t *testing.T, delay time.Duration, refused bool) {
	t.Helper()
	if delay != 0 || refused {
		t.Fatalf("delay %v, refused %v", delay, refused)
	}
}

func wantRefused(t *testing.T, delay time.Duration, refused bool) {
	t.Helper()
	if delay != 0 || !refused {
		t.Fatalf("delay %v, refused %v", delay, refused)
	}
}

// The row of waits that one address sees, whatever the accounts are.
func TestBackOffByAddress(t *testing.T) {
	for name, target := range map[string]func(int) jid.JID{
		"one account":     func(int) jid.JID { return juliet },
		"many accounts":   user,
		"names not JIDs":  func(int) jid.JID { return jid.JID{} },
		"full JIDs of it": func(i int) jid.JID { j, _ := juliet.WithResource(fmt.Sprint(i)); return j },
	} {
		t.Run(name, func(t *testing.T) {
			th, now := New(Options{}), epoch
			var got []time.Duration
			for i := range 16 {
				for {
					delay, refused := guess(th, elsewhere, target(i), now)
					if !refused {
						got = append(got, delay.Round(time.Second))
						now = now.Add(delay)
						break
					}
					// refused: try again later, as long as it takes
					now = now.Add(time.Second)
					got = append(got, -1)
				}
			}
			// Five are free, and the wait for the sixth's failure comes after it.
			held := slices.DeleteFunc(slices.Clone(got), func(d time.Duration) bool { return d < 0 })
			want := []time.Duration{0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 10, 10, 10, 10, 10, 10}
			for i := range want {
				want[i] *= time.Second
			}
			if !slices.Equal(held, want) {
				t.Errorf("held %v, want %v", held, want)
			}
			// The rest of the waits are refusals: 16-10, 32-10, 60-10, ...
			refusals := len(got) - len(held)
			if refusals < 6+22+4*49 || refusals > 6+22+4*51 {
				t.Errorf("%d seconds of refusals", refusals)
			}
		})
	}
}

// Attempts at the same time queue up: they are no way around the wait.
func TestParallelAttempts(t *testing.T) {
	th := New(Options{})
	for range 7 {
		th.Failed(elsewhere, juliet, epoch)
	}
	now := epoch.Add(5 * time.Second) // the wait of 2s is over
	var got []time.Duration
	refusals := 0
	for i := range 50 {
		if delay, refused := th.Attempt(elsewhere, user(i), now); refused {
			refusals++
		} else {
			got = append(got, delay)
		}
	}
	want := []time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second, 8 * time.Second, 10 * time.Second}
	if !slices.Equal(got, want) || refusals != 44 {
		t.Errorf("got %v and %d refusals", got, refusals)
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		rule, fails, then string
		same              bool
	}{
		{"IPv4", "192.0.2.1", "192.0.2.1", true},
		{"IPv4 neighbour", "192.0.2.1", "192.0.2.2", false},
		{"IPv4 in IPv6", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"IPv4 in IPv6, neighbour", "::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"IPv6 in a /64", "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
		{"IPv6 of the next /64", "2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"IPv6 zones", "fe80::1%eth0", "fe80::2%eth1", true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			th := New(Options{})
			for range 20 {
				th.Failed(netip.MustParseAddr(tt.fails), juliet, epoch)
			}
			_, refused := th.Attempt(netip.MustParseAddr(tt.then), romeo, epoch)
			if refused != tt.same {
				t.Errorf("refused %v", refused)
			}
		})
	}
	t.Run("no address at all", func(t *testing.T) {
		th := New(Options{})
		for range 20 {
			guess(th, netip.Addr{}, juliet, epoch)
		}
		d, r := th.Attempt(netip.Addr{}, romeo, epoch)
		wantRefused(t, d, r)
	})
}

// A botnet fails at juliet's account without pause. Nothing changes for her at
// an address that she used before.
func TestOwnerIsNotLockedOut(t *testing.T) {
	for _, limit := range []int{0, -1} {
		t.Run(fmt.Sprintf("limit %d", limit), func(t *testing.T) {
			th, now := New(Options{AccountLimit: limit}), epoch
			d, r := login(th, home, juliet, now)
			wantPass(t, d, r)
			checked := 0
			for i := range 5000 {
				if _, refused := guess(th, attacker(i), juliet, now); !refused {
					checked++
				}
				if i%100 == 0 {
					d, r := login(th, home, juliet, now)
					wantPass(t, d, r)
				}
				now = now.Add(10 * time.Millisecond)
			}
			delay, refused := th.Attempt(elsewhere, juliet, now)
			if limit < 0 {
				// Without a limit, a stranger (the owner on a journey) waits.
				if refused || delay != 10*time.Second || checked != 5000 {
					t.Errorf("delay %v, refused %v, %d checked", delay, refused, checked)
				}
			} else if !refused || checked > 510 {
				t.Errorf("refused %v, %d checked", refused, checked)
			}
			// Others are not touched.
			d, r = th.Attempt(elsewhere, romeo, now)
			wantPass(t, d, r)
			// When it is over, strangers are let in again at once.
			d, r = th.Attempt(elsewhere, juliet, now.Add(time.Minute))
			if r || d > 10*time.Second {
				t.Errorf("after the attack: delay %v, refused %v", d, r)
			}
		})
	}
}

// A neighbour at the same address who fails at other accounts, or at many.
func TestNeighbourDoesNotLockOut(t *testing.T) {
	th := New(Options{})
	login(th, home, juliet, epoch)
	for i := range 1000 {
		guess(th, home, user(i), epoch)
	}
	d, r := login(th, home, juliet, epoch)
	wantPass(t, d, r)
	d, r = th.Attempt(home, romeo, epoch)
	wantRefused(t, d, r)
}

// An old device with the old password and a new one behind the same address:
// the new one gets in, and its success frees the lane.
func TestOldDevice(t *testing.T) {
	th, now := New(Options{}), epoch
	login(th, home, juliet, now)
	for range 100 { // the old device tries again as soon as it is answered
		delay, refused := guess(th, home, juliet, now)
		if refused {
			t.Fatal("refused in a row of attempts at a known address")
		}
		now = now.Add(delay)
	}
	delay, refused := login(th, home, juliet, now)
	if refused || delay == 0 || delay > 10*time.Second {
		t.Errorf("delay %v, refused %v", delay, refused)
	}
	d, r := login(th, home, juliet, now)
	wantPass(t, d, r)
	// Yet the next failure has a consequence at once.
	guess(th, home, juliet, now)
	if d, _ := th.Attempt(home, juliet, now); d == 0 {
		t.Error("the free failures came back")
	}
}

// Logging in to an account of his own between guesses does not help.
func TestOwnSuccessForgivesNothing(t *testing.T) {
	th := New(Options{})
	for i := range 20 {
		login(th, elsewhere, romeo, epoch)
		guess(th, elsewhere, user(i), epoch)
	}
	d, r := th.Attempt(elsewhere, juliet, epoch)
	wantRefused(t, d, r)
	d, r = th.Attempt(elsewhere, romeo, epoch)
	wantPass(t, d, r)
}

// A success does not forget failures elsewhere: those were not the owner's.
func TestOwnerSuccessDoesNotHelpAttackers(t *testing.T) {
	th := New(Options{})
	for i := range 40 {
		guess(th, attacker(i), juliet, epoch)
		login(th, home, juliet, epoch)
	}
	if d, r := th.Attempt(elsewhere, juliet, epoch); d != 10*time.Second || r {
		t.Errorf("delay %v, refused %v", d, r)
	}
}

// RFC 6120 6.5.10: an attacker sees no difference between an account that its
// owner uses and one that does not exist.
func TestNoEnumeration(t *testing.T) {
	row := func(exists bool) (got []string) {
		th, now := New(Options{}), epoch
		for i := range 2000 {
			if exists && i%50 == 0 {
				login(th, home, juliet, now)
			}
			delay, refused := guess(th, attacker(i%300), juliet, now)
			got = append(got, fmt.Sprint(delay, refused))
			now = now.Add(100 * time.Millisecond)
		}
		return got
	}
	if !slices.Equal(row(true), row(false)) {
		t.Error("answers differ")
	}
}

func TestForgiven(t *testing.T) {
	th := New(Options{})
	for range 50 {
		th.Failed(elsewhere, juliet, epoch)
	}
	d, r := th.Attempt(elsewhere, romeo, epoch.Add(time.Second))
	wantRefused(t, d, r)
	// Seven doublings are remembered at most: 14 minutes later all is free.
	now := epoch.Add(14*time.Minute + time.Second)
	d, r = guess(th, elsewhere, romeo, now)
	wantPass(t, d, r)
	if d, r = th.Attempt(elsewhere, romeo, now); r || d != time.Second {
		t.Errorf("one more failure: delay %v, refused %v", d, r)
	}
	// And after 24 minutes even the free ones are back.
	now = now.Add(time.Hour)
	for range 6 {
		d, r = guess(th, elsewhere, romeo, now)
		wantPass(t, d, r)
	}
}

// Refused attempts do not count, so a stubborn client gets in some day.
func TestRefusedIsNotCounted(t *testing.T) {
	th, now := New(Options{}), epoch
	for range 12 {
		th.Failed(elsewhere, juliet, now)
	}
	for range 51 * 10 {
		now = now.Add(100 * time.Millisecond)
		if delay, refused := th.Attempt(elsewhere, juliet, now); !refused {
			if delay > 10*time.Second {
				t.Errorf("delay %v", delay)
			}
			return
		}
	}
	t.Error("still refused after 51 seconds")
}

// What a tireless attacker gets: checked guesses a day.
func TestGuessesADay(t *testing.T) {
	t.Run("one address", func(t *testing.T) {
		th, checked := New(Options{}), 0
		for s := range 24 * 3600 {
			if _, refused := guess(th, elsewhere, user(s%500), epoch.Add(time.Duration(s)*time.Second)); !refused {
				checked++
			}
		}
		if checked > 24*60+20 {
			t.Errorf("%d guesses", checked)
		}
	})
	t.Run("a botnet at one account", func(t *testing.T) {
		th, checked := New(Options{}), 0
		for s := range 24 * 3600 {
			if _, refused := guess(th, attacker(s%20000), juliet, epoch.Add(time.Duration(s)*time.Second)); !refused {
				checked++
			}
		}
		if checked > 500+24*120+20 {
			t.Errorf("%d guesses", checked)
		}
	})
	t.Run("at a known address", func(t *testing.T) {
		th, checked := New(Options{}), 0
		login(th, home, juliet, epoch)
		for s := range 24 * 3600 {
			if _, refused := guess(th, home, juliet, epoch.Add(time.Duration(s)*time.Second)); !refused {
				checked++
			}
		}
		if checked > 24*360+20 {
			t.Errorf("%d guesses", checked)
		}
	})
}

func TestKnownAddressesAreForgotten(t *testing.T) {
	attack := func(th *Throttle, now time.Time) {
		for i := range 600 {
			guess(th, attacker(i), juliet, now)
		}
	}
	t.Run("with time", func(t *testing.T) {
		th := New(Options{})
		login(th, home, juliet, epoch)
		now := epoch.Add(14*24*time.Hour - time.Second)
		attack(th, now)
		if _, refused := th.Attempt(home, juliet, now); refused {
			t.Error("forgotten too early")
		}
		now = now.Add(time.Second)
		attack(th, now)
		d, r := th.Attempt(home, juliet, now)
		wantRefused(t, d, r)
	})
	t.Run("the oldest of too many", func(t *testing.T) {
		th, now := New(Options{}), epoch
		for i := range knownAddresses + 1 {
			now = now.Add(time.Minute)
			login(th, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), juliet, now)
			if i == 3 { // the first one is used again, so the second is the oldest
				login(th, netip.AddrFrom4([4]byte{192, 0, 2, 0}), juliet, now)
			}
		}
		attack(th, now)
		for i := range knownAddresses + 1 {
			_, refused := th.Attempt(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), juliet, now)
			if refused != (i == 1) {
				t.Errorf("address %d: refused %v", i, refused)
			}
		}
	})
}

func TestPending(t *testing.T) {
	fill := func(th *Throttle) {
		for i := range 64 {
			d, r := th.Attempt(elsewhere, user(i), epoch)
			wantPass(t, d, r)
		}
		d, r := th.Attempt(elsewhere, juliet, epoch)
		wantRefused(t, d, r)
	}
	for name, settle := range map[string]func(*Throttle, netip.Addr, jid.JID, time.Time){
		"failed": (*Throttle).Failed, "succeeded": (*Throttle).Succeeded, "abandoned": (*Throttle).Abandoned,
	} {
		t.Run(name, func(t *testing.T) {
			th := New(Options{})
			fill(th)
			settle(th, elsewhere, user(0), epoch)
			d, r := th.Attempt(elsewhere, juliet, epoch)
			wantPass(t, d, r)
			d, r = th.Attempt(elsewhere, juliet, epoch)
			wantRefused(t, d, r)
		})
	}
	t.Run("never settled", func(t *testing.T) {
		th := New(Options{})
		fill(th)
		d, r := th.Attempt(elsewhere, juliet, epoch.Add(time.Second))
		wantPass(t, d, r)
	})
	t.Run("other addresses", func(t *testing.T) {
		th := New(Options{})
		fill(th)
		d, r := th.Attempt(home, juliet, epoch)
		wantPass(t, d, r)
	})
	t.Run("at a known address", func(t *testing.T) {
		th := New(Options{})
		login(th, home, juliet, epoch)
		for range knownPending {
			d, r := th.Attempt(home, juliet, epoch)
			wantPass(t, d, r)
		}
		d, r := th.Attempt(home, juliet, epoch)
		wantRefused(t, d, r)
		th.Abandoned(home, juliet, epoch)
		d, r = th.Attempt(home, juliet, epoch)
		wantPass(t, d, r)
	})
}

// A thousand clients behind one address that log in at once, after a restart.
func TestStormOfLogins(t *testing.T) {
	th := New(Options{})
	for i := range 1000 {
		d, r := th.Attempt(home, user(i), epoch)
		wantPass(t, d, r)
		if i >= 32 { // so many are being checked
			th.Succeeded(home, user(i-32), epoch)
		}
	}
}

func TestDisabled(t *testing.T) {
	th := New(Options{Disabled: true})
	for range 1000 {
		d, r := guess(th, elsewhere, juliet, epoch)
		wantPass(t, d, r)
	}
	th.Succeeded(elsewhere, juliet, epoch)
	th.Abandoned(elsewhere, juliet, epoch)
	if len(th.lanes.m)+len(th.accounts.m)+len(th.owners.m) != 0 {
		t.Error("something was counted")
	}
}
