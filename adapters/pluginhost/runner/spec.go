package runner

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// A Command is a program and its arguments.
type Command struct {
	// Path of the program. Without a slash it is looked for in $PATH of the
	// server, otherwise, if it is relative, in Spec.Folder.
	Path string
	Args []string // without the program's name

	// Self runs the program of this process, and not Path. It is the same file
	// (inode) even if another one was put into its place since, so that a
	// restart after a crash does not bring another version (Linux; elsewhere it
	// is whatever has the path now). OnDisk is for a reload: the file that is
	// there now.
	Self, OnDisk bool

	// Program is run, if it is not nil, whatever Path leads to: see Process.Again.
	Program *Program
}

// Options of a Runner.
type Options struct {
	// Folder for sockets, see DefaultFolder. It is made, with mode 0700, if it is
	// not there, and must be short: paths of sockets are limited to 107 bytes
	// (103 on BSD and macOS).
	Folder string

	// Guard is a command that calls Guard: a process beside the server which
	// kills the process groups of plugins when the server is gone, however it
	// went. Without it a plugin that ignores the end of its standard input may
	// outlive a killed server outside of Linux, and processes that it started may
	// everywhere.
	Guard Command

	// Interval at which memory is measured where no cgroup bounds it; 1 second
	// if it is 0.
	Interval time.Duration
}

// A Spec says what to run and how. Start does not change it.
type Spec struct {
	Name    string // of the plugin, for the log: lower-case letters, digits, hyphens
	Command Command
	Folder  string // absolute: relative paths of Command and Files are in it, and it is the working directory
	WorkDir string // absolute: the working directory instead of Folder

	// Env is set besides the variables that every plugin gets.
	Env map[string]string

	// Files that must be as they were: path to SHA-256, 64 lower-case hexadecimal
	// digits. They are read before each start.
	Files map[string]string

	// Memory is the most that all processes of the plugin together may have
	// resident, in bytes; 0 is no limit. MemoryKey is the key of the
	// configuration that raises it, for the log; "" if there is none.
	Memory    int64
	MemoryKey string

	// Inherit are open files, such as listening sockets, that the process gets as
	// descriptors 3 and on (LISTEN_FDS). They stay the caller's.
	Inherit      []*os.File
	InheritNames []string // LISTEN_FDNAMES, one for each file or none at all

	Handshake    plugin.HandshakeConfig // cookie; the protocol's version is in Versions
	Versions     []int                  // versions of the contract that the server speaks
	DialOptions  []grpc.DialOption      // for the connection to the plugin
	StartTimeout time.Duration          // for the handshake line and the connection; 10 seconds if it is 0
	Lines        int                    // of log a second; DefaultLinesPerSecond if it is 0
	Log          *Log                   // to add to; a new one if it is nil
}

// DefaultStartTimeout is how long a plugin may take to say where it listens.
const DefaultStartTimeout = 10 * time.Second

func (s *Spec) check() error {
	switch {
	case s.Name == "" || len(s.Name) > 63 || strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("plugin %q: a name is of at most 63 lower-case letters, digits and hyphens", s.Name)
	case !s.Command.Self && s.Command.Path == "":
		return fmt.Errorf("plugin %s: no command", s.Name)
	case s.Handshake.MagicCookieKey == "" || s.Handshake.MagicCookieValue == "" || len(s.Versions) == 0:
		return fmt.Errorf("plugin %s: no cookie, or no version of the contract", s.Name)
	case s.Memory < 0:
		return fmt.Errorf("plugin %s: %s is negative", s.Name, s.memoryKey())
	case len(s.InheritNames) != 0 && len(s.InheritNames) != len(s.Inherit):
		return fmt.Errorf("plugin %s: %d files to inherit, and %d names", s.Name, len(s.Inherit), len(s.InheritNames))
	}
	for _, name := range s.InheritNames {
		if strings.ContainsAny(name, ":=\x00") {
			return fmt.Errorf("plugin %s: %q can't be the name of a descriptor", s.Name, name)
		}
	}
	for key, value := range s.Env {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(value, "\x00") {
			return fmt.Errorf("plugin %s: environment variable %q can't be set", s.Name, key)
		}
	}
	return nil
}

func (s *Spec) memoryKey() string {
	if s.MemoryKey == "" {
		return "its memory limit"
	}
	return s.MemoryKey
}

// overMemory is what the log says of a process that was killed because of its size.
func (s *Spec) overMemory() string {
	if s.MemoryKey == "" {
		return "plugin killed: it uses more memory than its limit, which no key of the configuration raises"
	}
	return "plugin killed: it uses more memory than its limit. If it needs that much, raise " + s.MemoryKey
}

func (s *Spec) startTimeout() time.Duration {
	if s.StartTimeout <= 0 {
		return DefaultStartTimeout
	}
	return s.StartTimeout
}

func (s *Spec) workDir() string {
	if s.WorkDir != "" {
		return s.WorkDir
	}
	return s.Folder
}

// errNoFolder is for a relative path without anything that it is relative to.
var errNoFolder = errors.New("a relative path, and no folder that it is in")
