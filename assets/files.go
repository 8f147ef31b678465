package assets

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"ravenboot/internal/boot"
	"ravenboot/internal/generation"
	"ravenboot/internal/machine"
)

// Generations is asked for the files of a generation, at every request for one;
// false means that it is not on offer.
type Generations interface {
	Generation(profile string, number int) (*generation.Generation, bool)
}

// Images is asked for an image by its name, at every request for one of its
// files; nil means that there is none.
type Images interface {
	Image(name string) *boot.Image
}

// FilesConfig says what machines may take.
type FilesConfig struct {
	// MaxTransfers is how many large files are sent at a time; 0 takes 256.
	MaxTransfers int
	// Scripts, if not nil, makes the autoexec.ipxe beside the loaders.
	Scripts Scripts
	// Observe, if not nil, is told of every transfer that ended.
	Observe func(protocol, kind, result string, bytes int64)
}

// Files serves downloads over HTTP: by GET and HEAD, with exact lengths, ranges
// and validators. Its handlers read the variables of gorilla/mux routes. They
// must be given the ResponseWriter of net/http itself, because one that hides
// its ReadFrom makes the kernel copy each file twice.
type Files struct {
	loaders     *Loaders
	generations Generations
	images      Images
	config      FilesConfig
	log         *slog.Logger
	slots       chan struct{}
	stretchTime time.Duration
}

// NewFiles makes a Files.
func NewFiles(loaders *Loaders, generations Generations, images Images, config FilesConfig, log *slog.Logger) *Files {
	if config.MaxTransfers == 0 {
		config.MaxTransfers = defaultTransfers
	}
	if config.Observe == nil {
		config.Observe = func(string, string, string, int64) {}
	}
	return &Files{
		loaders: loaders, generations: generations, images: images, config: config, log: log,
		slots: make(chan struct{}, config.MaxTransfers), stretchTime: defaultStretchTime,
	}
}

// Loader serves {name}, a loader or autoexec.ipxe. {machine}, if the route has
// it, is the MAC of the machine that asks.
func (f *Files) Loader(w http.ResponseWriter, r *http.Request) {
	vars := mux.Vars(r)
	d := f.newDownload(w, r, "loader")
	d.mac, _ = machine.ParseMAC(vars["machine"])
	if vars["name"] == autoexecName && f.config.Scripts != nil {
		d.kind = "script"
		f.script(d)
		return
	}
	loader, err := f.loaders.Open(vars["name"])
	if err != nil {
		f.notFound(d, err.Error())
		return
	}
	d.validators(etag(uint64(len(loader.Data)), loader.ModTime), loader.ModTime)
	d.serve(bytes.NewReader(loader.Data))
	f.noteEnd(d)
}

func (f *Files) script(d *download) {
	text := f.config.Scripts.Autoexec(d.r.Context(), d.mac, localAddr(d.r.Context()))
	header := d.w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	d.serve(bytes.NewReader(text))
	f.noteEnd(d)
}

// localAddr is the server's address that a request came to.
func localAddr(ctx context.Context) netip.Addr {
	if local, ok := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return local.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Generation serves {file}, which is "kernel" or "initrd", of generation
// {number} of {profile}, or of its {specialisation} if the route has one.
func (f *Files) Generation(w http.ResponseWriter, r *http.Request) {
	vars := mux.Vars(r)
	d := f.newDownload(w, r, vars["file"])
	path := f.generationFile(vars)
	if path == "" {
		d.kind = "generation"
		f.notFound(d, "no such file of a generation on offer")
		return
	}
	f.file(d, path, openExactly)
}

// generationFile is the path of a generation's file, or "".
func (f *Files) generationFile(vars map[string]string) string {
	number, err := strconv.ParseUint(vars["number"], 10, 31)
	if err != nil {
		return ""
	}
	g, ok := f.generations.Generation(vars["profile"], int(number))
	if !ok {
		return ""
	}
	system := &g.System
	if name, ok := vars["specialisation"]; ok {
		if system = specialisation(g, name); system == nil {
			return ""
		}
	}
	switch vars["file"] {
	case "kernel":
		return system.Kernel
	case "initrd":
		return system.Initrd
	}
	return ""
}

func specialisation(g *generation.Generation, name string) *generation.System {
	for i := range g.Specialisations {
		if g.Specialisations[i].Name == name {
			return &g.Specialisations[i].System
		}
	}
	return nil
}

// Image serves {file}, the base name of one of the files of the image {name}.
func (f *Files) Image(w http.ResponseWriter, r *http.Request) {
	vars := mux.Vars(r)
	d := f.newDownload(w, r, "image")
	path := f.imageFile(vars["name"], vars["file"])
	if path == "" {
		f.notFound(d, "no image has such a file")
		return
	}
	f.file(d, path, openFollowing)
}

func (f *Files) imageFile(name, file string) string {
	image := f.images.Image(name)
	if image == nil {
		return ""
	}
	for _, path := range image.Paths() {
		if filepath.Base(path) == file {
			return path
		}
	}
	return ""
}

// notFound answers for everything that is not on offer.
func (f *Files) notFound(d *download, reason string) {
	d.fail(http.StatusNotFound, "not found")
	f.note(d, "not found", strings.TrimSpace(reason))
}
