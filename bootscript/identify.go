package bootscript

// Identify asks for the machine's script with everything that iPXE knows about
// the machine.
type Identify struct {
	URL string // of the script, without a query
	Fallback
}

// Render makes the script. Settings that a build doesn't know expand to
// nothing, and the server ignores empty parameters. A 64-bit machine whose BIOS
// build calls it i386 is told by the CPU's long mode bit. Under EFI i386 stays
// i386: it is the firmware's word size, and a 64-bit kernel can't be started.
func (i *Identify) Render() []byte {
	var s script
	s.begin()
	s.identify(i.URL)
	s.end(&i.Fallback)
	return s.text
}

func (s *script) identify(url string) {
	s.add("set arch ${buildarch}\niseq ${platform}/${arch} pcbios/i386 && cpuid --ext 29 && set arch x86_64 ||\n",
		"chain --replace --autofree ", url, "?mac=${netX/mac}&mac=${net0/mac}&mac=${net1/mac}&mac=${net2/mac}&mac=${net3/mac}",
		"&uuid=${uuid}&serial=${serial:uristring}&arch=${arch}&platform=${platform}&version=${version:uristring}")
	s.orFailed("the boot script did not arrive from " + url)
}

// Autoexec is the autoexec.ipxe that an iPXE loader fetches from beside itself
// before it does DHCP of its own (ipxe#643).
type Autoexec struct {
	URL string // of the script, without a query
	Fallback
}

// Render makes the script. It runs DHCP where the loader was started without an
// address (ipxe#593), and frees itself, because iPXE keeps it in memory and
// would hand it to the kernel as an initrd (ipxe#1723).
func (a *Autoexec) Render() []byte {
	var s script
	s.begin()
	s.add("imgfree ||\nisset ${netX/ip} && goto configured ||\ndhcp")
	s.orFailed("no address by DHCP")
	s.add(":configured\n")
	s.identify(a.URL)
	s.end(&a.Fallback)
	return s.text
}

// Failure tells the machine why it gets nothing else, and asks again.
type Failure struct {
	Reason string
	URL    string // to ask again
	Fallback
}

// Render makes the script.
func (f *Failure) Render() []byte {
	var s script
	s.begin()
	s.add(whiteSpaceSettings, "echo ravenboot:${sp:string}")
	s.text = appendText(s.text, f.Reason)
	s.add("\nsleep 10 ||\nchain --replace --autofree ", f.URL)
	s.orFailed("the boot script did not arrive")
	s.end(&f.Fallback)
	return s.text
}
