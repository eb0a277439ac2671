package runner

import (
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the size of sun_path without the zero byte at its end.
const maxSocketPath = 107

// selfPath is this program, as the same file, whatever became of its path.
const selfPath = "/proc/self/exe"

// executesDescriptors says that /proc/self/fd/N can be executed.
const executesDescriptors = true

// attributes of a new process: the leader of a group of its own, which is killed
// when the thread that started it ends. In a control group if cgroup is set.
func attributes(cgroup *os.File) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if cgroup != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(cgroup.Fd())
	}
	return a
}

// highDescriptor is a copy of the file's descriptor above those which a new
// process gets, that is closed in it once it runs.
func highDescriptor(f *os.File, above int) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// reopen opens the file of a descriptor once more, though it may have no path any more.
func reopen(f *os.File) (*os.File, error) {
	return os.Open("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
}

// exePath leads to the file that a process runs.
func exePath(pid int) string { return procPath(pid, "exe") }

// keepDescriptors marks all that this process has open, and got from whoever
// started it, as not for others.
func keepDescriptors() {
	// Before Linux 5.11 there is nothing like it, and nothing is lost but that.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
}

// awaitExit waits until the process has ended, and leaves it to be waited for:
// until then its number, and that of its group, is nobody else's.
func awaitExit(pid int) bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// settle waits until no process of the killed group is left but its leader, for
// a while: one that waits for a broken disk can't be killed. What the server inherits as
// the first process of a container is waited for.
func settle(group int) (left int) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(settleTime)
	defer end.Stop()
	for {
		left = 0
		for _, p := range members(group) {
			switch {
			case p.pid == group:
			case p.parent == os.Getpid():
				if n, err := unix.Wait4(p.pid, nil, unix.WNOHANG, nil); err != nil || n == 0 {
					left++
				}
			case p.state != 'Z': // those are another parent's
				left++
			}
		}
		if left == 0 {
			return 0
		}
		select {
		case <-tick.C:
		case <-end.C:
			return left
		}
	}
}

// outlive lets a process live on when the one that started it ends.
func outlive(a *syscall.SysProcAttr) { a.Pdeathsig = 0 }
