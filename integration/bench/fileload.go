package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// repeat has as many machines at a time download again and again, each at least
// once. Of every eighth download each byte is to be checked, of the others the
// length.
func repeat(machines int, lasts time.Duration, download func(machine int, every bool) error) (downloads int, err error) {
	var begun atomic.Int64
	deadline := time.Now().Add(lasts)
	errs := make([]error, machines)
	var group sync.WaitGroup
	for i := range machines {
		group.Go(func() {
			for first := true; first || time.Now().Before(deadline); first = false {
				every := begun.Add(1)%8 == 0
				if errs[i] = download(i, every); errs[i] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	return int(begun.Load()), errors.Join(errs...)
}

// fileLoad has one program be all machines, each with a connection of its own.
func fileLoad(url string, machines int, lasts time.Duration, content []byte) (downloads int, err error) {
	clients := make([]http.Client, machines)
	buffers := make([][]byte, machines)
	for i := range machines {
		clients[i].Transport = &http.Transport{ReadBufferSize: 64 << 10}
		buffers[i] = make([]byte, 256<<10)
		defer clients[i].CloseIdleConnections()
	}
	return repeat(machines, lasts, func(i int, every bool) error {
		return download(&clients[i], url, buffers[i], content, every)
	})
}

func download(client *http.Client, url string, buffer, content []byte, every bool) error {
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	total := 0
	for {
		n, err := r.Body.Read(buffer)
		if every && !bytes.Equal(buffer[:n], content[total:min(total+n, len(content))]) {
			return fmt.Errorf("%s: other bytes than in the file", url)
		}
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if total != len(content) {
		return fmt.Errorf("%s: %d bytes of %d", url, total, len(content))
	}
	return nil
}
