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

// fileLoad downloads a file again and again, at least once over each connection,
// and checks lengths and, of every eighth download, each byte.
func fileLoad(url string, connections int, lasts time.Duration, content []byte) (downloads int, err error) {
	var begun atomic.Int64
	deadline := time.Now().Add(lasts)
	errs := make([]error, connections)
	var group sync.WaitGroup
	for i := range connections {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{ReadBufferSize: 64 << 10}}
			defer client.CloseIdleConnections()
			buffer := make([]byte, 256<<10)
			for first := true; first || time.Now().Before(deadline); first = false {
				every := begun.Add(1)%8 == 0
				if errs[i] = download(client, url, buffer, content, every); errs[i] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	return int(begun.Load()), errors.Join(errs...)
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
