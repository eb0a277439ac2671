package runner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A program is a Command that was found and checked.
type program struct {
	path string   // to execute, unless file is set
	args []string // with the name of the program
	file *os.File // its descriptor is executed: what was checked is what runs
	kept *Program // nil: it can't be run again
}

// close closes the descriptor that is executed.
func (p *program) close() {
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// find looks for the command, and checks the files of the Spec. All errors name
// the file and what would help.
func (s *Spec) find(ctx context.Context) (*program, error) {
	p, err := s.find1(ctx)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", s.Name, err)
	}
	return p, nil
}

func (s *Spec) find1(ctx context.Context) (_ *program, err error) {
	p := &program{}
	defer func() {
		if err != nil {
			p.close()
			if p.kept != s.Command.Program {
				p.kept.Close()
			}
		}
	}()
	if again := s.Command.Program; again != nil {
		if err := again.unchanged(); err != nil {
			return nil, err
		}
		p.kept, p.path = again, again.path
		if p.file, err = reopen(again.file); err != nil {
			return nil, err
		}
	} else if p.path, err = s.locate(); err != nil {
		return nil, err
	}
	name := s.Command.Path
	if s.Command.Self {
		name = p.path
		if disk, err := os.Executable(); err == nil {
			name = filepath.Base(disk)
		}
	}
	p.args = append([]string{name}, s.Command.Args...)
	if dir := s.workDir(); dir != "" {
		if _, err := trusted(dir); err != nil {
			return nil, err
		}
	}
	if p.kept == nil {
		executed, err := os.Stat(p.path)
		if err != nil {
			return nil, err
		}
		if executed.IsDir() {
			return nil, fmt.Errorf("%s is a folder, not a program", p.path)
		}
		p.kept = s.keep(p)
	}
	for _, path := range slices.Sorted(maps.Keys(s.Files)) {
		if err := s.verifyOne(ctx, p, path); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// verifyOne compares one of the files with its SHA-256. If it is the program, what was read
// is what is executed.
func (s *Spec) verifyOne(ctx context.Context, p *program, name string) error {
	if again := s.Command.Program; again != nil && slices.Contains(again.pins, name) {
		return s.compare(ctx, name, again.path, io.NewSectionReader(again.file, 0, again.state.Size()))
	}
	file, err := s.verify(ctx, name)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && p.kept != nil && s.Command.Program == nil && os.SameFile(info, p.kept.state) {
		p.kept.pins = append(p.kept.pins, name)
		if p.file == nil && !s.Command.Self {
			p.file = file
			return nil
		}
	}
	return errors.Join(err, file.Close())
}

// locate is the path of the program, each part of which was checked.
func (s *Spec) locate() (string, error) {
	c := s.Command
	if c.Self && !c.OnDisk && selfPath != "" {
		return selfPath, nil // whatever the path leads to now
	}
	if c.Self {
		path, err := os.Executable()
		if err != nil {
			return "", err
		}
		return trusted(path)
	}
	path := c.Path
	if !strings.ContainsRune(path, filepath.Separator) {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("%w: install it, or give its path", err)
		}
		path = found
	}
	path, err := s.absolute(path)
	if err != nil {
		return "", err
	}
	return trusted(path)
}

func (s *Spec) absolute(path string) (string, error) {
	switch {
	case filepath.IsAbs(path):
		return path, nil
	case !filepath.IsAbs(s.Folder):
		return "", fmt.Errorf("%s: %w", path, errNoFolder)
	}
	return filepath.Join(s.Folder, path), nil
}

// verify opens a file and compares it with its SHA-256. The file is the
// caller's, at its beginning.
func (s *Spec) verify(ctx context.Context, name string) (_ *os.File, err error) {
	path, err := s.absolute(name)
	if err != nil {
		return nil, err
	}
	if path, err = trusted(path); err != nil {
		return nil, err
	}
	file, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if err := s.compare(ctx, name, path, file); err != nil {
		return nil, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return file, err
}

// compare reads a file and compares it with its SHA-256, unless ctx ends.
func (s *Spec) compare(ctx context.Context, name, path string, content io.Reader) error {
	want, err := hex.DecodeString(s.Files[name])
	if err != nil || len(want) != sha256.Size {
		return fmt.Errorf("files: %s: %q is no SHA-256 of 64 hexadecimal digits", name, clip(s.Files[name]))
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, reading{ctx, content}); err != nil {
		return fmt.Errorf("files: %s: %w", path, err)
	}
	if got := hash.Sum(nil); !bytes.Equal(got, want) {
		return fmt.Errorf("files: %s has SHA-256 %x, not %x: put back the file that was approved, or, if this one is meant, its digest into files", path, got, want)
	}
	return nil
}

// reading reads until its context ends.
type reading struct {
	ctx  context.Context
	from io.Reader
}

func (r reading) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(b)
}

// openRegular opens a file that is no folder, no device and no pipe, which
// could be waited for without end.
func openRegular(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err == nil {
		err = writable(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// writable is the error that everybody may write to a file or folder. In a
// sticky folder they can't replace what others put there.
func writable(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o002 == 0 || info.IsDir() && info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	return fmt.Errorf("%s can be written by every user of this machine, who could so decide what runs: chmod o-w %s", path, path)
}

// isScript says whether an interpreter will open the file again, by its path.
func isScript(file *os.File) bool {
	var start [2]byte
	n, _ := file.ReadAt(start[:], 0)
	return n == 2 && string(start[:]) == "#!"
}

func clip(s string) string { return clean(s, 80, false) }
