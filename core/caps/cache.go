package caps

import "container/list"

// Bounds of what is kept for sessions to come. What an available session has is
// not lost with it.
const (
	maxCached      = 10_000
	maxCachedBytes = 16 << 20
)

// cache has what was verified and may be shared. Of more than there is room for
// it forgets what was asked for least recently.
type cache struct {
	at    map[key]*list.Element // of *info
	used  list.List             // the latest first
	bytes int
}

// get returns what is known, nil if nothing is.
func (c *cache) get(k key) *info {
	e := c.at[k]
	if e == nil {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(*info)
}

func (c *cache) put(i *info) {
	if c.get(i.key) != nil {
		return
	}
	c.at[i.key] = c.used.PushFront(i)
	c.bytes += i.size()
	for len(c.at) > maxCached || c.bytes > maxCachedBytes {
		oldest := c.used.Remove(c.used.Back()).(*info)
		delete(c.at, oldest.key)
		c.bytes -= oldest.size()
	}
}
