package config

import (
	"fmt"
	"net"
	"strconv"
)

// maxBootFile is what the file field of a DHCP packet holds beside its NUL, in
// bytes (RFC 2131, section 2). A longer name would have to be cut, and the
// machine would ask for something else.
const maxBootFile = 127

// fileNames refuses loaders whose longest boot file name is too long for the
// packet. The loaders that are chosen by firmware have short names.
func (p *parser) fileNames() {
	p.bootFile(p.raw.Default.Loader)
	for i := range p.raw.Group {
		p.bootFile(p.raw.Group[i].Loader)
	}
	for i := range p.raw.Host {
		p.bootFile(p.raw.Host[i].Loader)
	}
}

func (p *parser) bootFile(loader text) {
	if !loader.set {
		return
	}
	for _, name := range []string{p.loaderURL("http", p.cfg.HTTP.Listen, "loader/", loader.value), p.loaderURL("tftp", p.cfg.TFTP.Listen, "", loader.value)} {
		if len(name) > maxBootFile {
			p.wrong(loader.place, "the boot file name %s... is %d bytes long, and a DHCP packet holds %d; rename the loader or link to it, %d bytes shorter",
				name[:min(len(name), 60)], len(name), maxBootFile, len(name)-maxBootFile)
			return
		}
	}
}

// loaderURL is the longest URL that a machine could be given for a loader.
func (p *parser) loaderURL(scheme, listen, dir, name string) string {
	if listen == "" {
		return ""
	}
	host, port := "255.255.255.255", portOf(listen)
	if p.cfg.Server.Address.IsValid() {
		host = p.cfg.Server.Address.String()
	}
	if port == 0 {
		port = 65535
	}
	authority := net.JoinHostPort(host, strconv.Itoa(port))
	if scheme == "http" && port == 80 || scheme == "tftp" && port == 69 {
		authority = host
	}
	return fmt.Sprintf("%s://%s/%s52-54-00-12-34-56/%s", scheme, authority, dir, name)
}
