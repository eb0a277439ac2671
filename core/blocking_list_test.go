package core_test

import (
	"context"
	"regexp"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// slow is a store that can be held up behind reading a block list, and behind a
// commit.
type slow struct {
	storage.Store
	mu              sync.Mutex
	read, committed gateway // for the next call alone
}

// hold returns the gateway at which the next call waits.
func (s *slow) hold(at *gateway) gateway {
	s.mu.Lock()
	defer s.mu.Unlock()
	*at = make(gateway)
	return *at
}

func (s *slow) wait(at *gateway) {
	s.mu.Lock()
	g := *at
	*at = nil
	s.mu.Unlock()
	if g != nil {
		g.pass()
	}
}

func (s *slow) Get(ctx context.Context, space string, owner jid.JID, key string) (storage.Entry, error) {
	e, err := s.Store.Get(ctx, space, owner, key)
	s.wait(&s.read)
	return e, err
}

func (s *slow) Commit(ctx context.Context, w storage.Writes) error {
	err := s.Store.Commit(ctx, w)
	s.wait(&s.committed)
	return err
}

var (
	listNews  = regexp.MustCompile(`<(blocklist|block|unblock) xmlns='urn:xmpp:blocking'(?:/>|>(.*?)</)`)
	itemOfOne = regexp.MustCompile(`<item jid='([^']*)'/>`)
)

// follow does to a list what a client is told of it, in order.
func follow(list []string, out string) []string {
	for _, m := range listNews.FindAllStringSubmatch(out, -1) {
		if m[1] == "blocklist" || m[1] == "unblock" && m[2] == "" {
			list = nil
		}
		for _, it := range itemOfOne.FindAllStringSubmatch(m[2], -1) {
			list = slices.DeleteFunc(list, func(old string) bool { return old == it[1] })
			if m[1] != "unblock" {
				list = append(list, it[1])
			}
		}
	}
	slices.Sort(list)
	return list
}

// XEP-0191 3.2 to 3.4: whoever has read the list, and follows the pushes, knows what
// the list is: also if it changes while it is read, and if two sessions change it.
func TestListIsFollowed(t *testing.T) { plugintest.BothWays(t, testListIsFollowed) }

func testListIsFollowed(t *testing.T, as plugintest.Way) {
	const get = "<iq type='get' id='g'><blocklist xmlns='urn:xmpp:blocking'/></iq>"
	for name, play := range map[string]func(s *slow, phone, a, b *client){
		"while it is read": func(s *slow, phone, a, _ *client) {
			goOn := s.hold(&s.read)
			go phone.send(get)
			synctest.Wait()
			go a.send(blockXML("romeo@example.test"))
			synctest.Wait()
			close(goOn)
		},
		"while it is read again": func(s *slow, phone, a, _ *client) {
			phone.send(get)
			goOn := s.hold(&s.read)
			go phone.send(get)
			synctest.Wait()
			go a.send(blockXML("romeo@example.test"))
			synctest.Wait()
			close(goOn)
		},
		"by two": func(s *slow, phone, a, b *client) {
			phone.send(get)
			goOn := s.hold(&s.committed)
			go a.send(blockXML("romeo@example.test", "nurse@example.test"))
			synctest.Wait()
			go b.send(unblockXML("romeo@example.test"))
			synctest.Wait()
			close(goOn)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s *slow
				w := newWorld(t, func(o *core.Options, p *core.Ports) {
					if err := p.Store.CreateAccount(t.Context(), storage.Account{User: jid.MustParse("juliet@example.test")}); err != nil {
						t.Fatal(err)
					}
					o.Limits.UnauthenticatedTime = 24 * time.Hour
					s = &slow{Store: p.Store}
					p.Store = s
					with(as(t, blocking.New(blocking.Options{})))(o, p)
				})
				phone, a, b := w.login("juliet@example.test/phone", ""), w.login("juliet@example.test/a", ""), w.login("juliet@example.test/b", "")
				phone.send("<iq type='get' id='1'><q xmlns='urn:y'/></iq>").take() // the stages have the list in memory
				play(s, phone, a, b)
				synctest.Wait()
				for _, c := range []*client{a, b} {
					c.take()
				}
				known := follow(nil, phone.take())
				want := follow(nil, phone.send(get).take())
				if len(want) != 1 || !slices.Equal(known, want) {
					t.Errorf("the phone takes the list for %q, and it is %q", known, want)
				}
			})
		})
	}
}

// Requests that wait for those in front of them have 30 seconds, and keep nobody
// else from anything.
func TestListThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *slow
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			for _, name := range []string{"juliet", "romeo"} {
				if err := p.Store.CreateAccount(t.Context(), storage.Account{User: jid.MustParse(name + "@example.test")}); err != nil {
					t.Fatal(err)
				}
			}
			o.Limits.UnauthenticatedTime = 24 * time.Hour
			s = &slow{Store: p.Store}
			p.Store = s
			with(blocking.New(blocking.Options{}))(o, p)
		})
		juliet, phone, romeo := w.login("juliet@example.test/a", ""), w.login("juliet@example.test/b", ""), w.login("romeo@example.test/x", "")
		goOn := s.hold(&s.committed)
		go juliet.send(blockXML("montague.example"))
		synctest.Wait()
		go phone.send(blockXML("capulet.example"))
		synctest.Wait()
		romeo.send(blockXML("capulet.example")).wantPart("type='result'")
		phone.want("")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		phone.wantPart("<resource-constraint ")
		close(goOn)
		synctest.Wait()
		juliet.wantPart("type='result'")
		phone.send(blockXML("capulet.example")).wantPart("type='result'")
	})
}
