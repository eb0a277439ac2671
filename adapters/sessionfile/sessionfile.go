// Package sessionfile implements storage.SavedSessions as a file in a folder of
// which the caller holds the lock. It is there between a planned stop and the start
// behind it only, and is written under another name until all of it is on disk.
package sessionfile

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
)

// File implements storage.SavedSessions.
type File struct {
	folder string
	now    func() time.Time
}

var _ storage.SavedSessions = (*File)(nil)

// New returns the file in a folder that is there.
func New(folder string) *File { return &File{folder: folder, now: time.Now} }

const (
	name      = "sessions"
	temporary = name + ".new"
	aside     = name + ".unreadable" // with a time behind it
)

func (f *File) path(name string) string { return filepath.Join(f.folder, name) }

// Save implements storage.SavedSessions.
func (f *File) Save(s *storage.Saved) error {
	err := f.save(s)
	if err != nil {
		err = fmt.Errorf("sessionfile: %w", errors.Join(err, ignore(os.Remove(f.path(temporary)), fs.ErrNotExist)))
	}
	return err
}

func (f *File) save(s *storage.Saved) error {
	out, err := os.OpenFile(f.path(temporary), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(out, 64<<10)
	err = write(buffer, s)
	if err == nil {
		err = errors.Join(buffer.Flush(), out.Sync())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.path(temporary), f.path(name)); err != nil {
		return err
	}
	return f.sync()
}

// Load implements storage.SavedSessions.
func (f *File) Load() (*storage.Saved, error) {
	// What a stop that was cut off has begun is worth nothing.
	if err := ignore(os.Remove(f.path(temporary)), fs.ErrNotExist); err != nil {
		return nil, fmt.Errorf("sessionfile: %w", err)
	}
	s, err := f.load()
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case !errors.Is(err, frame.ErrFrame) && !errors.Is(err, errNewer):
		return nil, fmt.Errorf("sessionfile: %w", err)
	}
	put := fmt.Sprintf("%s-%s", f.path(aside), f.now().UTC().Format("20060102T150405"))
	if moved := errors.Join(os.Rename(f.path(name), put), f.sync()); moved != nil {
		return nil, fmt.Errorf("sessionfile: %w", errors.Join(err, moved))
	}
	return nil, fmt.Errorf("%w: %w: it is now %s", storage.ErrUnreadable, err, put)
}

func (f *File) load() (*storage.Saved, error) {
	in, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	return read(in, info.Size())
}

// Discard implements storage.SavedSessions.
func (f *File) Discard() error {
	err := os.Remove(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err = errors.Join(err, f.sync()); err != nil {
		return fmt.Errorf("sessionfile: %w", err)
	}
	return nil
}

// sync writes the names in the folder to disk.
func (f *File) sync() error {
	d, err := os.Open(f.folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ignore returns err unless it is what is expected.
func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
