package web

import (
	"context"
	"net"
	"net/http"
)

// contextWithLocalAddr is the context that net/http gives to a request that
// came in on an address.
func contextWithLocalAddr(r *http.Request, local net.Addr) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, local)
}
