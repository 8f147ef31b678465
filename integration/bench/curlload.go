package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// curlLoad has each machine be a curl: they know nothing of each other, as in a
// lab, and read what comes as it comes.
func curlLoad(url string, machines int, lasts time.Duration, content []byte) (downloads int, err error) {
	return repeat(machines, lasts, func(_ int, every bool) error {
		if every {
			return curlCompared(url, content)
		}
		out, err := exec.Command("curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{size_download}", url).CombinedOutput()
		if err == nil && string(out) != strconv.Itoa(len(content)) {
			err = errors.New("not the file's length")
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %s", url, err, out)
		}
		return nil
	})
}

func curlCompared(url string, content []byte) error {
	rest := comparer(content)
	cmd := exec.Command("curl", "-sS", "--fail", url)
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &rest, &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", url, err, &complaint)
	}
	if len(rest) > 0 {
		return fmt.Errorf("%s: %d bytes are missing", url, len(rest))
	}
	return nil
}

// comparer takes what is written to it for the bytes that it still has to see.
type comparer []byte

func (c *comparer) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(*c, p) {
		return 0, errors.New("other bytes than in the file")
	}
	*c = (*c)[len(p):]
	return len(p), nil
}
