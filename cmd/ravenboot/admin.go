package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"ravenboot/internal/config"
	"ravenboot/internal/web"
)

// adminClient asks the admin side of the server that runs by a configuration.
type adminClient struct {
	base string
	http http.Client
}

// adminTime bounds a question to the admin side. An approval waits for the disk.
const adminTime = 15 * time.Second

// maxAnswer is far above what the server keeps of all machines, in bytes.
const maxAnswer = 256 << 20

func newAdminClient(cfg *config.Config) (*adminClient, error) {
	if cfg.Admin.Listen == "" {
		return nil, errors.New(`the configuration turns the admin side off ([admin] listen = ""), through which machines are asked for; give it an address such as "127.0.0.1:9080"`)
	}
	addr, err := dialAddress(cfg.Admin.Listen)
	if err != nil {
		return nil, err
	}
	return &adminClient{
		base: "http://" + addr,
		// No proxy: it is this machine's own server.
		http: http.Client{Timeout: adminTime, Transport: new(http.Transport)},
	}, nil
}

// dialAddress is where a listen address is reached from the same machine.
func dialAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("[admin] listen: %w", err)
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "":
		host = "127.0.0.1"
	case err == nil && addr.IsUnspecified() && addr.Is4():
		host = "127.0.0.1"
	case err == nil && addr.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

func (a *adminClient) machines(ctx context.Context) ([]web.Machine, error) {
	var all []web.Machine
	err := a.ask(ctx, http.MethodGet, "/api/v1/machines", &all)
	return all, err
}

func (a *adminClient) approve(ctx context.Context, name string) (web.Machine, error) {
	var m web.Machine
	err := a.ask(ctx, http.MethodPost, "/api/v1/machines/"+url.PathEscape(name)+"/approve", &m)
	return m, err
}

func (a *adminClient) ask(ctx context.Context, method, path string, to any) error {
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return err
	}
	answer, err := a.http.Do(request)
	if err != nil {
		return a.explain(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", a.base, err)
	}
	if answer.StatusCode != http.StatusOK {
		return a.refusal(answer.Status, body)
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("%s answers, but not as a ravenboot of this version does: %w", a.base, err)
	}
	return nil
}

func (a *adminClient) explain(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nobody listens on %s ([admin] listen): is `ravenboot serve` running, with this configuration?", a.base)
	}
	return fmt.Errorf("ask the server: %w", err)
}

// refusal is the server's own word where it has one.
func (a *adminClient) refusal(status string, body []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &said) == nil && said.Error != "" {
		return errors.New(printable(said.Error))
	}
	return fmt.Errorf("%s answers %s: is that a ravenboot of this version, with HTTP on?", a.base, status)
}
