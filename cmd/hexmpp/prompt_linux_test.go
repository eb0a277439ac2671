package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: what a person has, and what a program has.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("there is no pseudo-terminal here (mount devpts): %v", err)
	}
	person = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// TestPrompt types two passwords at a terminal; what the terminal shows is the
// questions and nothing of the passwords.
func TestPrompt(t *testing.T) {
	for _, c := range []struct{ first, second, err string }{
		{"s3cret", "s3cret", ""},
		{"s3cret", "s3cert", "differ"},
	} {
		person, program := terminal(t)
		p := newPrompt(program, program)
		if p == nil {
			t.Fatal("the terminal is not recognised")
		}
		shown := make(chan string, 1)
		go func() {
			// Typed when it is asked for: before, the terminal would show it.
			r := bufio.NewReader(person)
			var all strings.Builder
			for _, password := range []string{c.first, c.second} {
				for !strings.HasSuffix(all.String(), ": ") {
					b, err := r.ReadByte()
					if err != nil {
						shown <- fmt.Sprint(all.String(), err)
						return
					}
					all.WriteByte(b)
				}
				fmt.Fprintln(person, password)
				line, _ := r.ReadString('\n') // of the prompt, behind the answer
				all.WriteString(line)
			}
			shown <- all.String()
		}()
		got, err := p.password()
		if c.err == "" && (err != nil || got != c.first) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("password %q, %v", got, err)
		}
		if s := <-shown; s != "Password: \r\nAgain: \r\n" {
			t.Errorf("the terminal shows %q", s)
		}
		was, err := unix.IoctlGetTermios(int(program.Fd()), getTermios)
		if err != nil || was.Lflag&unix.ECHO == 0 {
			t.Errorf("the terminal does not echo afterwards: %v", err)
		}
	}
}
