package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// prompt asks a person at a terminal for a password.
type prompt struct {
	terminal *os.File
	out      io.Writer
}

// newPrompt returns nil if in is no terminal.
func newPrompt(in *os.File, out io.Writer) *prompt {
	if !isTerminal(in) {
		return nil
	}
	return &prompt{in, out}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), getTermios)
	return err == nil
}

// password asks twice, and does not show what is typed.
func (p *prompt) password() (string, error) {
	first, err := p.ask("Password: ")
	if err != nil {
		return "", err
	}
	second, err := p.ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}

func (p *prompt) ask(question string) (line string, err error) {
	fd := int(p.terminal.Fd())
	was, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	quiet := *was
	quiet.Lflag &^= unix.ECHO
	quiet.Lflag |= unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, setTermios, &quiet); err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	defer func() {
		if restored := unix.IoctlSetTermios(fd, setTermios, was); restored != nil {
			err = errors.Join(err, fmt.Errorf("terminal: %w", restored))
		}
		fmt.Fprintln(p.out)
	}()
	fmt.Fprint(p.out, question)
	return readLine(p.terminal)
}

// maxLine bounds a password that is read, in bytes.
const maxLine = 4096

// readLine reads one line, and no byte beyond it where that matters: a
// terminal gives a line at a time.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReaderSize(io.LimitReader(r, maxLine+1), maxLine+1).ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return "", errors.New("there is no password: pass it as one line of standard input, or have one made with --generate")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if len(line) > maxLine {
		return "", fmt.Errorf("read the password: the line is longer than %d bytes", maxLine)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
