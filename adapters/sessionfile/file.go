package sessionfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
)

// file is a file in a folder that is there between a planned stop and the start behind
// it only. It is written under another name until all of it is on disk.
type file struct {
	folder, name string
	now          func() time.Time
}

func newFile(folder, name string) file { return file{folder, name, time.Now} }

func (f *file) path() string { return filepath.Join(f.folder, f.name) }

func (f *file) temporary() string { return f.path() + ".new" }

// save makes the file of what write writes.
func (f *file) save(write func(io.Writer) error) error {
	err := f.make(write)
	if err != nil {
		err = fmt.Errorf("sessionfile: %w", errors.Join(err, ignore(os.Remove(f.temporary()), fs.ErrNotExist)))
	}
	return err
}

func (f *file) make(write func(io.Writer) error) error {
	out, err := os.OpenFile(f.temporary(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(out, 64<<10)
	err = write(buffer)
	if err == nil {
		err = errors.Join(buffer.Flush(), out.Sync())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.temporary(), f.path()); err != nil {
		return err
	}
	return f.sync()
}

// load has the file read, and says whether it is there. What read can't read, which
// it calls frame.ErrFrame or errNewer, is put aside.
func (f *file) load(read func(in io.Reader, size int64) error) (there bool, err error) {
	// What a stop that was cut off has begun is worth nothing.
	if err := ignore(os.Remove(f.temporary()), fs.ErrNotExist); err != nil {
		return false, fmt.Errorf("sessionfile: %w", err)
	}
	err = f.open(read)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case !errors.Is(err, frame.ErrFrame) && !errors.Is(err, errNewer):
		return false, fmt.Errorf("sessionfile: %w", err)
	}
	put := fmt.Sprintf("%s.unreadable-%s", f.path(), f.now().UTC().Format("20060102T150405"))
	if moved := errors.Join(os.Rename(f.path(), put), f.sync()); moved != nil {
		return false, fmt.Errorf("sessionfile: %w", errors.Join(err, moved))
	}
	return false, fmt.Errorf("%w: %w: it is now %s", storage.ErrUnreadable, err, put)
}

func (f *file) open(read func(in io.Reader, size int64) error) error {
	in, err := os.Open(f.path())
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	return read(in, info.Size())
}

// discard removes the file, if it is there.
func (f *file) discard() error {
	err := os.Remove(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err = errors.Join(err, f.sync()); err != nil {
		return fmt.Errorf("sessionfile: %w", err)
	}
	return nil
}

// sync writes the names in the folder to disk.
func (f *file) sync() error {
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
