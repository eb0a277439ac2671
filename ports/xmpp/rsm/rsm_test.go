package rsm_test

import (
	"math"
	"reflect"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/rsm"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func set(content string) string { return "<set xmlns='" + rsm.NS + "'>" + content + "</set>" }

func parse(t testing.TB, xml string) *stanza.Element {
	t.Helper()
	e, err := stanza.ParseElement(xml, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestParse(t *testing.T) {
	none := rsm.Request{Max: rsm.None, Index: rsm.None}
	with := func(change func(*rsm.Request)) rsm.Request {
		r := none
		change(&r)
		return r
	}
	for _, c := range []struct {
		name, content string
		want          rsm.Request
	}{
		{"nothing is asked for", "", none},
		{"XEP-0059 2.1 example 1: max", "<max>10</max>", with(func(r *rsm.Request) { r.Max = 10 })},
		{"XEP-0059 2.2 example 5: after", "<max>10</max><after>peter@pixyland.org</after>", with(func(r *rsm.Request) { r.Max, r.After, r.HasAfter = 10, "peter@pixyland.org", true })},
		{"an empty after is none", "<max>10</max><after/>", with(func(r *rsm.Request) { r.Max = 10 })},
		{"XEP-0059 2.3 example 8: before", "<before>a b&lt;</before>", with(func(r *rsm.Request) { r.Before, r.HasBefore = "a b<", true })},
		{"XEP-0059 2.5 example 11: the last page", "<max>10</max><before/>", with(func(r *rsm.Request) { r.Max, r.HasBefore = 10, true })},
		{"XEP-0059 2.6 example 12: by index", "<index>371</index>", with(func(r *rsm.Request) { r.Index = 371 })},
		{"XEP-0059 2.7 example 15: the count", "<max>0</max>", with(func(r *rsm.Request) { r.Max = 0 })},
		{"numbers of an xs:int", "<max>\n +007 </max>", with(func(r *rsm.Request) { r.Max = 7 })},
		{"a number that is too large", "<max>99999999999999999999999999</max>", with(func(r *rsm.Request) { r.Max = math.MaxInt32 })},
		{"what is of an answer, and of others", "<first>1</first><last>2</last><count>3</count><max xmlns='urn:x'>4</max><more/>text", none},
		{"both bounds", "<before>b</before><after>a</after>", with(func(r *rsm.Request) { r.Before, r.HasBefore, r.After, r.HasAfter = "b", true, "a", true })},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := rsm.Parse(parse(t, set(c.content)))
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
	if got, err := rsm.Parse(nil); err != nil || got != none {
		t.Errorf("no set: %+v, %v", got, err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, content := range []string{"<max/>", "<max>-1</max>", "<max>1.5</max>", "<max>1 2</max>", "<max>+</max>", "<max>١</max>", "<index>x</index>",
		"<after/><after/>", "<max>1</max><max>1</max>", "<before/><before>1</before>", "<after>1</after><after>2</after>"} {
		if got, err := rsm.Parse(parse(t, set(content))); err == nil || err.Condition != stanza.BadRequest {
			t.Errorf("%s: %+v, %v", content, got, err)
		}
	}
}

func TestPage(t *testing.T) {
	for _, c := range []struct {
		name string
		page rsm.Page
		want string
	}{
		{"XEP-0059 2.2 example 4", rsm.Page{First: "a", Last: "b", Index: 0, Count: 800}, set("<first index='0'>a</first><last>b</last><count>800</count>")},
		{"XEP-0059 2.2 an empty page", rsm.Page{Index: rsm.None, Count: 790}, set("<count>790</count>")},
		{"neither place nor count are known", rsm.Page{First: "a&", Last: "a&", Index: rsm.None, Count: rsm.None}, set("<first>a&amp;</first><last>a&amp;</last>")},
		{"an empty set", rsm.Page{Index: rsm.None, Count: 0}, set("<count>0</count>")},
	} {
		if got := c.page.Element(); !reflect.DeepEqual(got, parse(t, c.want)) {
			t.Errorf("%s: %s", c.name, got.Append(nil, ""))
		}
	}
}

// What is parsed is written so that it is parsed as the same.
func FuzzParse(f *testing.F) {
	for _, content := range []string{"<max>10</max><after>x</after>", "<before/>", "<index>0</index><max>99999999999999</max>", "<after><max>1</max></after>"} {
		f.Add(set(content))
	}
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := stanza.ParseElement(xml, "")
		if err != nil {
			return
		}
		r, wrong := rsm.Parse(e)
		if wrong != nil {
			if wrong.Condition != stanza.BadRequest {
				t.Error(wrong)
			}
			return
		}
		if r.Max < rsm.None || r.Index < rsm.None || r.HasAfter != (r.After != "") || !r.HasBefore && r.Before != "" {
			t.Errorf("%+v", r)
		}
		again, wrong := rsm.Parse(parse(t, string(r.Element().Append(nil, ""))))
		if wrong != nil || again != r {
			t.Errorf("%+v became %+v, %v", r, again, wrong)
		}
	})
}
