package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hexmpp/hexmpp/adapters/certs"
	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/adapters/extension/contact"
	"github.com/hexmpp/hexmpp/adapters/extension/private"
	"github.com/hexmpp/hexmpp/adapters/extension/vcard"
	"github.com/hexmpp/hexmpp/adapters/storage/sql"
	"github.com/hexmpp/hexmpp/adapters/webchat"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
)

// Check finds what a server would refuse at its start, though the file by
// itself is right: folders that are not there, certificates that can't be used,
// options that the parts know more of. It makes and starts nothing. The error is
// a config.Errors.
func Check(c *config.Config) error {
	var wrong config.Errors
	note := func(path string, err error) {
		if err != nil {
			wrong = append(wrong, c.Wrong(path, err))
		}
	}
	note("tls.certificates", checkCerts(c))
	note("storage.dsn", checkStorage(c))
	for name, validate := range map[string]func() error{
		"vcard":    vcard.Options{MaxBytes: c.VCard.MaxBytes}.Validate,
		"private":  private.Options{MaxBytes: c.Private.MaxBytes, MaxElements: c.Private.MaxElements}.Validate,
		"blocking": blocking.Options{MaxItems: c.Blocking.MaxItems}.Validate,
		"contact":  contact.Options(c.Contact).Validate,
	} {
		if c.Extensions[name].Enabled {
			note("extensions."+name+".options", validate())
		}
	}
	if c.Web.Converse != "" {
		note("web.converse", webchat.CheckConverse(c.Web.Converse))
	}
	checkPlugins(c, note)
	if len(wrong) == 0 {
		return nil
	}
	wrong.Sort()
	return wrong
}

func checkCerts(c *config.Config) error {
	_, err := os.Stat(c.TLS.Certificates)
	if errors.Is(err, fs.ErrNotExist) && ownCerts(c) {
		return nil // the start makes it
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no folder %s: make it, or leave the key out, and the server signs its own certificates", c.TLS.Certificates)
	}
	if err != nil {
		return err
	}
	_, err = certs.New(certs.Options{Dir: c.TLS.Certificates, Domains: c.Domains}, nil)
	return err
}

// ownCerts says whether the folder of certificates is that in the data folder.
func ownCerts(c *config.Config) bool {
	return c.TLS.Certificates == filepath.Join(c.Data, "certificates")
}

func checkStorage(c *config.Config) error {
	o, err := storeOptions(c)
	if err != nil {
		return err
	}
	if o.Driver == sql.SQLite && filepath.Dir(o.Path) == c.Data {
		return nil // the start makes it
	}
	return o.Check()
}
