package host

import (
	"iter"
	"slices"
	"sort"
	"strings"
)

// ordered is a map with keys in byte order. It is made of runs of neighbours: a change
// moves no more than one run, and, rarely, the list of them. The zero value is empty.
type ordered[V any] struct {
	runs [][]pair[V] // none is empty
	n    int
}

type pair[V any] struct {
	key   string
	value V
}

// maxRun is the length at which a run is split.
const maxRun = 256

// find returns the place of a key: the run that has it or would have it, and the
// position there.
func (o *ordered[V]) find(key string) (run, at int, there bool) {
	run = max(0, sort.Search(len(o.runs), func(i int) bool { return o.runs[i][0].key > key })-1)
	if len(o.runs) == 0 {
		return 0, 0, false
	}
	r := o.runs[run]
	at = sort.Search(len(r), func(i int) bool { return r[i].key >= key })
	return run, at, at < len(r) && r[at].key == key
}

func (o *ordered[V]) get(key string) (v V, ok bool) {
	if run, at, there := o.find(key); there {
		return o.runs[run][at].value, true
	}
	return v, false
}

// put returns the value that was replaced.
func (o *ordered[V]) put(key string, v V) (old V, replaced bool) {
	run, at, there := o.find(key)
	if there {
		p := &o.runs[run][at]
		old, p.value = p.value, v
		return old, true
	}
	o.n++
	if len(o.runs) == 0 {
		o.runs = append(o.runs, []pair[V]{{key, v}})
		return old, false
	}
	r := slices.Insert(o.runs[run], at, pair[V]{key, v})
	if len(r) > maxRun {
		// What is put in order fills its runs; the rest halves them.
		cut := len(r) / 2
		if at == len(r)-1 {
			cut = at
		}
		o.runs = slices.Insert(o.runs, run+1, slices.Clone(r[cut:]))
		clear(r[cut:])
		r = r[:cut]
	}
	o.runs[run] = r
	return old, false
}

// remove returns the value that was there.
func (o *ordered[V]) remove(key string) (old V, removed bool) {
	run, at, there := o.find(key)
	if !there {
		return old, false
	}
	o.n--
	old = o.runs[run][at].value
	r := slices.Delete(o.runs[run], at, at+1)
	o.runs[run] = r
	switch {
	case len(r) == 0:
		o.runs = slices.Delete(o.runs, run, run+1)
	case run > 0 && len(r)+len(o.runs[run-1]) < maxRun/2:
		o.runs[run-1] = append(o.runs[run-1], r...)
		o.runs = slices.Delete(o.runs, run, run+1)
	}
	return old, true
}

// from yields what is there from key on, in order.
func (o *ordered[V]) from(key string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		run, at, _ := o.find(key)
		for ; run < len(o.runs); run, at = run+1, 0 {
			for _, p := range o.runs[run][at:] {
				if !yield(p.key, p.value) {
					return
				}
			}
		}
	}
}

// page returns at most limit of what is in base from the key first on, with this
// prefix, where own comes before what base has: nil is what is not there.
func page[V any](base, own *ordered[*V], first, prefix string, limit int) (all []pair[*V]) {
	var found []pair[*V]
	for key, v := range base.from(first) {
		if len(found) >= limit || !strings.HasPrefix(key, prefix) {
			break
		}
		if _, changed := own.get(key); !changed {
			found = append(found, pair[*V]{key, v})
		}
	}
	if own.n == 0 {
		return found
	}
	next := 0
	for key, v := range own.from(first) {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		for ; next < len(found) && found[next].key < key; next++ {
			all = append(all, found[next])
		}
		if len(all) >= limit {
			break
		}
		if v != nil {
			all = append(all, pair[*V]{key, v})
		}
	}
	all = append(all, found[next:]...)
	return all[:min(len(all), max(0, limit))]
}

// behind is the first key that may follow after and begins with prefix.
func behind(after, prefix string) string {
	if after != "" && after >= prefix {
		return after + "\x00"
	}
	return prefix
}
