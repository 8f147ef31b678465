package web

import (
	"net/http"
	"path"
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

// NewBootHandler makes the handler of the boot side. cache, where not nil,
// answers what is below /cache, and sees paths without it.
func NewBootHandler(scripts *Scripts, files Files, cache http.Handler, healthy func() error) http.Handler {
	r := mux.NewRouter()
	// mux would answer a doubled slash with a redirect, which breaks UEFI HTTP
	// Boot (smee PR#229); cleanPath answers instead.
	r.SkipClean(true)
	get := func(route string, handler http.HandlerFunc) {
		r.HandleFunc(route, handler).Methods(http.MethodGet, http.MethodHead)
	}
	get("/boot.ipxe", scripts.ServeHTTP)
	get("/generation/{profile}/{number}/{file}", files.Generation)
	get("/generation/{profile}/{number}/{specialisation}/{file}", files.Generation)
	get("/image/{name}/{file}", files.Image)
	get("/loader/{name}", files.Loader)
	get("/loader/{machine}/{name}", files.Loader)
	get("/healthz", health(healthy))
	if cache != nil {
		r.PathPrefix("/cache/").Handler(http.StripPrefix("/cache", cache)).Methods(http.MethodGet, http.MethodHead)
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

// NewAdminHandler makes the handler of the admin side.
func NewAdminHandler(metrics http.Handler, healthy func() error) http.Handler {
	r := mux.NewRouter()
	r.Handle("/metrics", metrics).Methods(http.MethodGet, http.MethodHead)
	r.HandleFunc("/healthz", health(healthy)).Methods(http.MethodGet, http.MethodHead)
	r.MethodNotAllowedHandler = http.HandlerFunc(methodNotAllowed)
	return r
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
