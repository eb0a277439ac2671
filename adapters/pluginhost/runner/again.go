package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A Program is the file that a process runs, kept open: it can be run again when its path leads
// to another one, or nowhere.
type Program struct {
	path  string // that it had
	file  *os.File
	state fs.FileInfo
	pins  []string               // what Spec.Files calls it
	named map[string]fs.FileInfo // files that its arguments name
}

// Close lets go of the file. What runs goes on.
func (p *Program) Close() {
	if p != nil {
		p.file.Close() // it was only read
	}
}

// ErrChanged is wrapped when what ran can't be run again: somebody wrote into the file itself, or
// has changed a file that its arguments name.
var ErrChanged = errors.New("so what ran before can't be run again")

// maxNamed bounds the arguments that are looked at.
const maxNamed = 64

// keep opens what is to be executed. nil: it can't be run again by its file. Scripts are such:
// an interpreter opens them, and what is beside them, by their paths.
func (s *Spec) keep(p *program) *Program {
	if !executesDescriptors || s.Command.Self && !s.Command.OnDisk {
		return nil
	}
	file, err := openRegular(p.path)
	if err != nil {
		return nil // some may be executed, and not read
	}
	state, err := file.Stat()
	if err != nil || isScript(file) {
		file.Close()
		return nil
	}
	k := &Program{path: p.path, file: file, state: state, named: map[string]fs.FileInfo{}}
	for i, arg := range s.Command.Args {
		if i == maxNamed {
			break
		}
		if !filepath.IsAbs(arg) {
			arg = filepath.Join(s.workDir(), arg)
		}
		if info, err := os.Stat(arg); err == nil && info.Mode().IsRegular() {
			k.named[arg] = info
		}
	}
	return k
}

// unchanged is the error that what ran is not there any more.
func (p *Program) unchanged() error {
	now, err := p.file.Stat()
	if err != nil {
		return err
	}
	if changed(p.state, now) {
		return fmt.Errorf("%s was written into while it was in use, %w: put a new file into the place of an old one, by mv or install", p.path, ErrChanged)
	}
	for path, was := range p.named {
		if now, err := os.Stat(path); err != nil || changed(was, now) {
			return fmt.Errorf("%s has changed, %w", path, ErrChanged)
		}
	}
	return nil
}

func changed(was, now fs.FileInfo) bool {
	return !os.SameFile(was, now) || was.Size() != now.Size() || !was.ModTime().Equal(now.ModTime())
}

// runs says whether the process of this number runs the file.
func (p *Program) runs(pid int) bool {
	exe, err := os.Stat(exePath(pid))
	return err == nil && os.SameFile(exe, p.state)
}
