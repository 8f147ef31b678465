package web

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

// Files are the handlers of downloads; assets.Files is the one that is used.
// They read the route's variables with mux.Vars.
type Files interface {
	Loader(w http.ResponseWriter, r *http.Request)     // {name}, perhaps {machine}
	Generation(w http.ResponseWriter, r *http.Request) // {profile} {number} {file}, perhaps {specialisation}
	Image(w http.ResponseWriter, r *http.Request)      // {name} {file}
}

// BootSide is what the boot side consists of.
type BootSide struct {
	Scripts *Scripts
	Files   Files
	Cache   http.Handler // answers what is below /cache, and sees paths without it; nil for none
	Reports *Reports     // nil takes none
	Healthy func() error
}

// NewBootHandler makes the handler of the boot side.
func NewBootHandler(s BootSide) http.Handler {
	r := mux.NewRouter()
	// mux would answer a doubled slash with a redirect, which breaks UEFI HTTP
	// Boot (smee PR#229); cleanPath answers instead.
	r.SkipClean(true)
	get := func(route string, handler http.HandlerFunc) {
		r.HandleFunc(route, handler).Methods(http.MethodGet, http.MethodHead)
	}
	get("/boot.ipxe", s.Scripts.ServeHTTP)
	get("/generation/{profile}/{number}/{file}", s.Files.Generation)
	get("/generation/{profile}/{number}/{specialisation}/{file}", s.Files.Generation)
	get("/image/{name}/{file}", s.Files.Image)
	get("/loader/{name}", s.Files.Loader)
	get("/loader/{machine}/{name}", s.Files.Loader)
	get("/healthz", health(s.Healthy))
	if s.Reports != nil {
		r.Handle("/report", s.Reports)
	}
	if s.Cache != nil {
		r.PathPrefix("/cache/").Handler(http.StripPrefix("/cache", s.Cache))
	}
	r.MethodNotAllowedHandler = http.HandlerFunc(methodNotAllowed)
	return cleanPath(r)
}

// methodNotAllowed names the methods that every route has, as RFC 9110 section
// 15.5.6 asks for.
func methodNotAllowed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
}

// AdminSide is what the admin side consists of.
type AdminSide struct {
	Metrics  http.Handler
	Machines *MachinesAPI // nil where machines can't report
	Healthy  func() error
}

// NewAdminHandler makes the handler of the admin side.
func NewAdminHandler(s AdminSide) http.Handler {
	r := mux.NewRouter()
	r.Handle("/metrics", s.Metrics).Methods(http.MethodGet, http.MethodHead)
	r.HandleFunc("/healthz", health(s.Healthy)).Methods(http.MethodGet, http.MethodHead)
	if s.Machines != nil {
		r.Handle("/api/v1/machines", only(s.Machines.list, http.MethodGet, http.MethodHead))
		r.Handle("/api/v1/machines/{machine}/approve", only(s.Machines.approve, http.MethodPost))
	}
	r.MethodNotAllowedHandler = http.HandlerFunc(methodNotAllowed)
	return sameOrigin(r)
}

// only answers other methods as the rest of the interface answers errors.
func only(handler http.HandlerFunc, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			allowed := strings.Join(methods, ", ")
			w.Header().Set("Allow", allowed)
			writeError(w, http.StatusMethodNotAllowed, fmt.Errorf("use %s here", allowed))
			return
		}
		handler(w, r)
	})
}

// sameOrigin keeps pages of other servers, open in the operator's browser, from
// approving anything: the admin side has no password of its own.
func sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusForbidden, errors.New("a page of another server asked for this"))
	}))
	return protection.Handler(next)
}

// cleanPath lets a path with doubled slashes or dots mean what it would mean
// without them, as machines with a boot URL of "http://server/" and a file of
// "/boot.ipxe" send.
func cleanPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "//") || strings.Contains(r.URL.Path, "/.") {
			u := *r.URL
			u.Path, u.RawPath = path.Clean("/"+u.Path), ""
			clean := *r
			clean.URL = &u
			r = &clean
		}
		next.ServeHTTP(w, r)
	})
}

// health answers 200 when every service is up, and 503 with the reason.
func health(healthy func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if err := healthy(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(err.Error() + "\n"))
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	}
}
