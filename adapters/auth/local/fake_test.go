package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// fakeStore is storage that counts, and fails when told to. Adapters don't
// import each other, so the one in memory isn't at hand here.
type fakeStore struct {
	seed string // of secrets: each store has others

	mu       sync.Mutex // guards all below
	accounts map[jid.JID]storage.Account
	err      error // what every call fails with
	reads    int
	touched  []map[jid.JID]time.Time
}

func newFakeStore() *fakeStore {
	return &fakeStore{seed: rand.Text(), accounts: make(map[jid.JID]storage.Account)}
}

func (f *fakeStore) fail(err error) { f.mu.Lock(); defer f.mu.Unlock(); f.err = err }

func (f *fakeStore) accountReads() int { f.mu.Lock(); defer f.mu.Unlock(); return f.reads }

func (f *fakeStore) setDisabled(user jid.JID, disabled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.accounts[user]
	a.Disabled = disabled
	f.accounts[user] = a
}

func (f *fakeStore) keepHash(user jid.JID, hash string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.accounts[user]
	a.Keys = slices.DeleteFunc(slices.Clone(a.Keys), func(k storage.Key) bool { return k.Hash != hash })
	f.accounts[user] = a
}

// call runs f under the lock, or fails as it was told to.
func (f *fakeStore) call(ctx context.Context, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return do()
}

// change applies do to an account that is there.
func (f *fakeStore) change(ctx context.Context, user jid.JID, do func(*storage.Account)) error {
	return f.call(ctx, func() error {
		a, there := f.accounts[user]
		if !there {
			return storage.ErrNotFound
		}
		do(&a)
		f.accounts[user] = a
		return nil
	})
}

func (f *fakeStore) CreateAccount(ctx context.Context, a storage.Account) error {
	return f.call(ctx, func() error {
		if _, there := f.accounts[a.User]; there {
			return storage.ErrExists
		}
		f.accounts[a.User] = a
		return nil
	})
}

func (f *fakeStore) Account(ctx context.Context, user jid.JID) (found storage.Account, err error) {
	err = f.call(ctx, func() error {
		f.reads++
		a, there := f.accounts[user]
		if !there {
			return storage.ErrNotFound
		}
		a.Keys = cloneKeys(a.Keys)
		found = a
		return nil
	})
	return found, err
}

func (f *fakeStore) SetKeys(ctx context.Context, user jid.JID, keys []storage.Key) error {
	return f.change(ctx, user, func(a *storage.Account) { a.Keys = keys })
}

func (f *fakeStore) RemoveAccount(ctx context.Context, user jid.JID) error {
	return f.call(ctx, func() error {
		if _, there := f.accounts[user]; !there {
			return storage.ErrNotFound
		}
		delete(f.accounts, user)
		return nil
	})
}

func (f *fakeStore) ListAccounts(ctx context.Context, domain, after string, limit int) (page []storage.Account, err error) {
	err = f.call(ctx, func() error {
		for user, a := range f.accounts {
			if user.Domain() == domain && user.Local() > after {
				page = append(page, a)
			}
		}
		slices.SortFunc(page, func(a, b storage.Account) int { return strings.Compare(a.User.Local(), b.User.Local()) })
		page = page[:min(len(page), limit)]
		return nil
	})
	return page, err
}

func (f *fakeStore) TouchAccounts(ctx context.Context, logins map[jid.JID]time.Time) error {
	return f.call(ctx, func() error {
		f.touched = append(f.touched, maps.Clone(logins))
		return nil
	})
}

func (f *fakeStore) Secret(ctx context.Context, name string) (secret []byte, err error) {
	err = f.call(ctx, func() error {
		sum := sha256.Sum256([]byte(f.seed + name))
		secret = sum[:]
		return nil
	})
	return secret, err
}

func cloneKeys(keys []storage.Key) []storage.Key {
	keys = slices.Clone(keys)
	for i := range keys {
		k := &keys[i]
		k.Salt, k.StoredKey, k.ServerKey = bytes.Clone(k.Salt), bytes.Clone(k.StoredKey), bytes.Clone(k.ServerKey)
	}
	return keys
}
