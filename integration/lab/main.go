package lab

import (
	"fmt"
	"os"
)

// Main runs the tests of a package, prints the table of boots, and returns the
// exit status.
func Main(tests func() int) int {
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
