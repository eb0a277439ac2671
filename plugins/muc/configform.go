package muc

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Fields of the form (16.5.3); the last ones, fieldRegister and fieldApprove are not of the specification.
const (
	fieldName       = "muc#roomconfig_roomname"
	fieldDesc       = "muc#roomconfig_roomdesc"
	fieldLang       = "muc#roomconfig_lang"
	fieldPersistent = "muc#roomconfig_persistentroom"
	fieldPublic     = "muc#roomconfig_publicroom"
	fieldMembers    = "muc#roomconfig_membersonly"
	fieldModerated  = "muc#roomconfig_moderatedroom"
	fieldProtected  = "muc#roomconfig_passwordprotectedroom"
	fieldSecret     = "muc#roomconfig_roomsecret"
	fieldWhois      = "muc#roomconfig_whois"
	fieldSubject    = "muc#roomconfig_changesubject"
	fieldBroadcast  = "muc#roomconfig_presencebroadcast"
	fieldPM         = "muc#roomconfig_allowpm"
	fieldInvites    = "muc#roomconfig_allowinvites"
	fieldRegister   = "muc#roomconfig_allowregister"
	fieldApprove    = "muc#roomconfig_approveregister"
	fieldMaxUsers   = "muc#roomconfig_maxusers"
	fieldHistory    = "muc#roomconfig_historylength"
	fieldArchive    = "muc#roomconfig_enablearchiving"
	fieldLists      = "muc#roomconfig_getmemberlist"
	fieldAdmins     = "muc#roomconfig_roomadmins"
	fieldOwners     = "muc#roomconfig_roomowners"
	fieldSlow       = "muc#roomconfig_slow_mode_duration" // XEP-0500
)

// Bounds of texts of a configuration, in bytes.
const (
	maxName     = 200
	maxDesc     = 4000
	maxLang     = 35
	maxPassword = 200
	maxSlowMode = 86_400 // seconds
)

func boolean(b bool) []string { return []string{map[bool]string{true: "1", false: "0"}[b]} }

func text(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// form asks an owner for the configuration (10.1.3), and for the whole lists of admins and owners.
func (r *room) form(s *Service) *form.Form {
	f := r.Config.form(s)
	f.Fields = append(f.Fields,
		form.Field{Var: fieldAdmins, Type: form.JIDMulti, Label: "Admins", Values: r.allWho(Admin)},
		form.Field{Var: fieldOwners, Type: form.JIDMulti, Label: "Owners", Values: r.allWho(Owner)})
	return f
}

// allWho returns the addresses with an affiliation, in order.
func (r *room) allWho(is Affiliation) (all []string) {
	for _, a := range r.affiliates {
		if a.Is == is {
			all = append(all, a.JID.String())
		}
	}
	slices.Sort(all)
	return all
}

func (c *Config) form(s *Service) *form.Form {
	pm := c.AllowPM
	if pm == "" {
		pm = pmAnyone
	}
	whois := "moderators"
	if c.FullJIDs {
		whois = "anyone"
	}
	users := form.Field{Var: fieldMaxUsers, Type: form.ListSingle, Label: "The most occupants", Values: []string{strconv.Itoa(c.MaxOccupants)}, Open: true}
	for _, n := range []int{10, 20, 50, 100, 200} {
		if n < s.options.MaxOccupants {
			users.Options = append(users.Options, form.Option{Value: strconv.Itoa(n)})
		}
	}
	users.Options = append(users.Options, form.Option{Value: strconv.Itoa(s.options.MaxOccupants)})
	return &form.Form{Type: form.Ask, Purpose: nsConfig, Title: "Configuration of the room", Fields: []form.Field{
		{Var: fieldName, Type: form.TextSingle, Label: "Name", Values: text(c.Name)},
		{Var: fieldDesc, Type: form.TextSingle, Label: "Description", Values: text(c.Description)},
		{Var: fieldLang, Type: form.TextSingle, Label: "Language", Values: text(c.Lang)},
		{Var: fieldPersistent, Type: form.Boolean, Label: "The room stays when nobody is in it", Values: boolean(c.Persistent)},
		{Var: fieldPublic, Type: form.Boolean, Label: "The room is listed", Values: boolean(c.Public)},
		{Var: fieldMembers, Type: form.Boolean, Label: "The room is for members", Values: boolean(c.MembersOnly)},
		{Var: fieldModerated, Type: form.Boolean, Label: "Who is no member has no voice at first", Values: boolean(c.Moderated)},
		{Var: fieldProtected, Type: form.Boolean, Label: "A password is needed", Values: boolean(c.Password != "")},
		{Var: fieldSecret, Type: form.TextPrivate, Label: "Password", Values: text(c.Password)},
		{Var: fieldWhois, Type: form.ListSingle, Label: "Who sees real addresses", Values: []string{whois}, Options: []form.Option{
			{Label: "Moderators", Value: "moderators"}, {Label: "Everybody", Value: "anyone"}}},
		{Var: fieldSubject, Type: form.Boolean, Label: "Participants may change the subject", Values: boolean(c.ChangeSubject)},
		{Var: fieldInvites, Type: form.Boolean, Label: "Members may invite others to a room for members", Values: boolean(c.AllowInvites)},
		{Var: fieldRegister, Type: form.Boolean, Label: "Everybody may register as a member, unless the room is for members, or moderated", Values: boolean(c.Register)},
		{Var: fieldApprove, Type: form.Boolean, Label: "Where not everybody may register, admins who are in the room are asked", Values: boolean(c.Approve)},
		{Var: fieldPM, Type: form.ListSingle, Label: "Who may send private messages", Values: []string{pm}, Options: []form.Option{
			{Label: "Everybody", Value: pmAnyone}, {Label: "Who has voice", Value: pmParticipants}, {Label: "Moderators", Value: pmModerators}, {Label: "Nobody", Value: pmNone}}},
		{Var: fieldBroadcast, Type: form.ListMulti, Label: "Roles whose presence others see", Values: slices.Clone(c.Broadcast), Options: []form.Option{
			{Label: "Moderators", Value: "moderator"}, {Label: "Participants", Value: "participant"}, {Label: "Visitors", Value: "visitor"}}},
		{Var: fieldLists, Type: form.ListMulti, Label: "Roles that may ask for the list of members; where real addresses are hidden, moderators at most", Values: slices.Clone(c.lists()), Options: []form.Option{
			{Label: "Moderators", Value: "moderator"}, {Label: "Participants", Value: "participant"}, {Label: "Visitors", Value: "visitor"}}},
		users,
		{Var: fieldHistory, Type: form.TextSingle, Label: "Messages that who enters is sent", Values: []string{strconv.Itoa(c.History)}},
		{Var: fieldSlow, Type: form.TextSingle, Label: "Seconds that have to be between two messages of somebody", Values: []string{strconv.Itoa(c.SlowMode)},
			Integer: true, Least: 0, Most: maxSlowMode},
		{Var: fieldArchive, Type: form.Boolean, Label: "What is said is kept", Values: boolean(c.Archive)},
	}}
}

// known returns a submitted form without the fields that nobody has asked for (10.2): they are
// ignored. A form without any, which asks for an instant room, need not say its purpose (10.1.2).
func (t *turn) known(x *stanza.Element) *stanza.Element {
	asked := t.r.form(t.s)
	out := stanza.El(x.Space, x.Local, x.Attrs...)
	purpose := false
	for _, e := range x.Elements() {
		name := e.Attr("var")
		isPurpose := name == "FORM_TYPE"
		purpose = purpose || isPurpose
		if e.Local != "field" || isPurpose || slices.ContainsFunc(asked.Fields, func(f form.Field) bool { return f.Var == name }) {
			out.Add(e)
		}
	}
	if !purpose && len(out.Elements()) == 0 {
		out.Add(stanza.El(form.NS, "field", stanza.At("var", "FORM_TYPE")).Add(stanza.El(form.NS, "value").WithText(nsConfig)))
	}
	return out
}

// take reads the answers. Fields that were not submitted stay as they are; texts that were
// submitted empty are none.
func (c *Config) take(x *stanza.Element, v form.Values, s *Service) error {
	submitted := map[string]bool{}
	for _, e := range x.Elements() {
		submitted[e.Attr("var")] = true
	}
	for _, f := range []struct {
		name string
		to   *string
		most int
	}{{fieldName, &c.Name, maxName}, {fieldDesc, &c.Description, maxDesc}, {fieldLang, &c.Lang, maxLang}, {fieldSecret, &c.Password, maxPassword}} {
		if !submitted[f.name] {
			continue
		}
		if *f.to = v.Get(f.name); len(*f.to) > f.most {
			return fmt.Errorf("%s is too long: at most %d bytes", f.name, f.most)
		}
	}
	if protected, given := v.Bool(fieldProtected); given {
		if !protected {
			c.Password = ""
		} else if c.Password == "" {
			return fmt.Errorf("%s: a password is wanted", fieldSecret)
		}
	}
	for name, to := range map[string]*bool{
		fieldPersistent: &c.Persistent, fieldPublic: &c.Public, fieldMembers: &c.MembersOnly, fieldModerated: &c.Moderated,
		fieldSubject: &c.ChangeSubject, fieldArchive: &c.Archive,
		fieldInvites: &c.AllowInvites, fieldRegister: &c.Register, fieldApprove: &c.Approve,
	} {
		if b, given := v.Bool(name); given {
			*to = b
		}
	}
	if whois := v.Get(fieldWhois); whois != "" {
		c.FullJIDs = whois == "anyone"
	}
	if pm := v.Get(fieldPM); pm != "" {
		c.AllowPM = pm
	}
	if submitted[fieldBroadcast] {
		c.Broadcast = slices.Clone(v[fieldBroadcast])
	}
	if submitted[fieldLists] {
		if lists := append([]string{}, v[fieldLists]...); !slices.Equal(lists, c.lists()) {
			c.Lists = lists
		}
	}
	for _, f := range []struct {
		name        string
		to          *int
		least, most int
	}{{fieldMaxUsers, &c.MaxOccupants, 1, s.options.MaxOccupants}, {fieldSlow, &c.SlowMode, 0, maxSlowMode}, {fieldHistory, &c.History, 0, s.options.MaxHistory}} {
		if !submitted[f.name] {
			continue
		}
		n, err := strconv.Atoi(v.Get(f.name))
		if err != nil || n < f.least || n > f.most {
			return fmt.Errorf("%s: allowed are %d to %d", f.name, f.least, f.most)
		}
		*f.to = n
	}
	return nil
}
