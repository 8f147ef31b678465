package main

import (
	"net/http"
	"os"
	"strconv"
	"time"
)

// helpers are the servers that this program is itself, as floors to compare
// with, the DHCP load, which runs in a namespace, a builder for Nix, and a
// wire with what is done over it.
var helpers map[string]func(args []string) error

func init() {
	helpers = map[string]func([]string) error{
		"serve-text": serveText, "serve-file": serveFile, "load-dora": loadDORA, "fill-path": fillPath,
		"carry": carry, "reach": reach, "download": downloadOnce, "request": shortRequests,
	}
}

// serveText ADDR FILE is the least that net/http can do.
func serveText(args []string) error {
	text, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	return http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = w.Write(text)
	}))
}

// serveFile ADDR FILE is http.ServeContent.
func serveFile(args []string) error {
	return http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(args[1])
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	}))
}
