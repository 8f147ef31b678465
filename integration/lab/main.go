package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Main runs the tests of a package as root of a lab, prints the table of
// boots, and returns the exit status. An ordinary user becomes root of a user
// namespace first, by starting the test program again.
func Main(tests func() int) int {
	if os.Geteuid() != 0 {
		return inUserNamespace()
	}
	status := tests()
	fmt.Println()
	if err := WriteTable(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	if err := RemoveBinary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}

func inUserNamespace() int {
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := again.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintf(os.Stderr, "no user namespace: %v: run the boots as root, or set kernel.unprivileged_userns_clone=1\n", err)
		return 1
	}
	return 0
}
