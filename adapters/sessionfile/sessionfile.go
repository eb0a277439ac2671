// Package sessionfile implements storage.SavedSessions and storage.SavedExtensions, each
// as a file in a folder of which the caller holds the lock. The files are there between
// a planned stop and the start behind it only, and are written under another name until
// all of it is on disk.
package sessionfile

import (
	"io"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// File implements storage.SavedSessions.
type File struct{ file }

var _ storage.SavedSessions = (*File)(nil)

// New returns the file in a folder that is there.
func New(folder string) *File { return &File{newFile(folder, "sessions")} }

// Save implements storage.SavedSessions.
func (f *File) Save(s *storage.Saved) error {
	return f.save(func(out io.Writer) error { return write(out, s) })
}

// Load implements storage.SavedSessions.
func (f *File) Load() (s *storage.Saved, err error) {
	_, err = f.load(func(in io.Reader, size int64) (err error) {
		s, err = read(in, size)
		return err
	})
	return s, err
}

// Discard implements storage.SavedSessions.
func (f *File) Discard() error { return f.discard() }

// Extensions implements storage.SavedExtensions.
type Extensions struct{ file }

var _ storage.SavedExtensions = (*Extensions)(nil)

// NewExtensions returns the file in a folder that is there.
func NewExtensions(folder string) *Extensions { return &Extensions{newFile(folder, "extensions")} }

// Save implements storage.SavedExtensions.
func (f *Extensions) Save(s *storage.SavedState) error {
	return f.save(func(out io.Writer) error { return writeState(out, s) })
}

// Load implements storage.SavedExtensions.
func (f *Extensions) Load() (s *storage.SavedState, err error) {
	_, err = f.load(func(in io.Reader, size int64) (err error) {
		s, err = readState(in, size)
		return err
	})
	return s, err
}

// Discard implements storage.SavedExtensions.
func (f *Extensions) Discard() error { return f.discard() }
