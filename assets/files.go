package assets

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gorilla/mux"

	"ravenboot/internal/boot"
	"ravenboot/internal/generation"
)

// Generations is asked for the files of a generation.
type Generations interface {
	Generation(profile string, number int) (*generation.Generation, bool)
}

// Images is asked for an image by its name; nil for none.
type Images interface{ Image(name string) *boot.Image }

// FilesConfig bounds what machines may take at a time.
type FilesConfig struct {
	MaxTransfers int
	Observe      func(protocol, kind, result string, bytes int64)
}

// Files serves downloads over HTTP.
type Files struct {
	loaders     *Loaders
	generations Generations
	images      Images
	config      FilesConfig
	log         *slog.Logger
}

// NewFiles makes a Files.
func NewFiles(loaders *Loaders, generations Generations, images Images, config FilesConfig, log *slog.Logger) *Files {
	return &Files{loaders: loaders, generations: generations, images: images, config: config, log: log}
}

// Loader serves /loader/{name}.
func (f *Files) Loader(w http.ResponseWriter, r *http.Request) {
	l, ok := (*f.loaders.found.Load())[mux.Vars(r)["name"]]
	if !ok {
		http.NotFound(w, r)
		return
	}
	f.serve(w, r, "loader", l.Path)
}

// Generation serves a generation's kernel or initrd.
func (f *Files) Generation(w http.ResponseWriter, r *http.Request) {
	v := mux.Vars(r)
	n, _ := strconv.Atoi(v["number"])
	g, ok := f.generations.Generation(v["profile"], n)
	if !ok {
		http.NotFound(w, r)
		return
	}
	system := &g.System
	if name := v["specialisation"]; name != "" {
		system = nil
		for i := range g.Specialisations {
			if g.Specialisations[i].Name == name {
				system = &g.Specialisations[i].System
			}
		}
	}
	switch {
	case system != nil && v["file"] == "kernel":
		f.serve(w, r, "kernel", system.Kernel)
	case system != nil && v["file"] == "initrd" && system.Initrd != "":
		f.serve(w, r, "initrd", system.Initrd)
	default:
		http.NotFound(w, r)
	}
}

// Image serves a file of an image.
func (f *Files) Image(w http.ResponseWriter, r *http.Request) {
	if image := f.images.Image(mux.Vars(r)["name"]); image != nil {
		for _, path := range image.Paths() {
			if filepath.Base(path) == mux.Vars(r)["file"] {
				f.serve(w, r, "image", path)
				return
			}
		}
	}
	http.NotFound(w, r)
}

func (f *Files) serve(w http.ResponseWriter, r *http.Request, kind, path string) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		f.log.Error("download", "step", kind, "outcome", "not found", "reason", err)
		http.NotFound(w, r)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano()))
	http.ServeContent(w, r, "", time.Time{}, file)
}
