package config

// The raw structs are the file's tables as they are written, key by key. Each
// value knows its place, and whether it was given at all.

type raw struct {
	Server  rawServer    `toml:"server"`
	DHCP    rawDHCP      `toml:"dhcp"`
	TFTP    rawTFTP      `toml:"tftp"`
	HTTP    rawHTTP      `toml:"http"`
	Cache   rawCache     `toml:"cache"`
	Admin   rawAdmin     `toml:"admin"`
	Loaders rawLoaders   `toml:"loaders"`
	Menu    rawMenu      `toml:"menu"`
	Profile []rawProfile `toml:"profile"`
	Image   []rawImage   `toml:"image"`
	Host    []rawHost    `toml:"host"`
	Group   []rawGroup   `toml:"group"`
	Default rawDefault   `toml:"default"`
	Log     rawLog       `toml:"log"`
}

type rawServer struct {
	table
	Address    text  `toml:"address"`
	Interface  texts `toml:"interface"`
	Interfaces texts `toml:"interfaces"`
	StateDir   text  `toml:"state_dir"`
}

type rawDHCP struct {
	table
	Mode        text        `toml:"mode"`
	Port        number      `toml:"port"`
	ProxyPort   number      `toml:"proxy_port"`
	EFIOption43 boolean     `toml:"efi_option_43"`
	Chainload   text        `toml:"chainload"`
	Subnet      []rawSubnet `toml:"subnet"`
}

type rawSubnet struct {
	table
	Network text  `toml:"network"`
	Range   pairs `toml:"range"`
	Router  texts `toml:"router"`
	DNS     texts `toml:"dns"`
	NTP     texts `toml:"ntp"`
	Domain  text  `toml:"domain"`
	Lease   text  `toml:"lease"`
	T1      text  `toml:"t1"`
	T2      text  `toml:"t2"`
}

type rawTFTP struct {
	table
	Listen          text    `toml:"listen"`
	BlockSize       number  `toml:"block_size"`
	SinglePort      boolean `toml:"single_port"`
	MaxTransfers    number  `toml:"max_transfers"`
	ScriptForLoader text    `toml:"script_for_loader"`
}

type rawHTTP struct {
	table
	Listen       text   `toml:"listen"`
	MaxTransfers number `toml:"max_transfers"`
}

type rawAdmin struct {
	table
	Listen text `toml:"listen"`
}

type rawLoaders struct {
	table
	Dirs texts `toml:"dirs"`
}

type rawMenu struct {
	table
	Title     text    `toml:"title"`
	Timeout   text    `toml:"timeout"`
	Shell     boolean `toml:"shell"`
	Rounds    number  `toml:"rounds"`
	OnFailure text    `toml:"on_failure"`
}

type rawProfile struct {
	table
	Name         text    `toml:"name"`
	Path         text    `toml:"path"`
	Keep         number  `toml:"keep"`
	AllowSecrets boolean `toml:"allow_secrets"`
	Args         texts   `toml:"args"`
}

type rawImage struct {
	table
	Name     text  `toml:"name"`
	Label    text  `toml:"label"`
	Kernel   text  `toml:"kernel"`
	Initrd   texts `toml:"initrd"`
	Args     texts `toml:"args"`
	Files    texts `toml:"files"`
	Chain    text  `toml:"chain"`
	Arch     texts `toml:"arch"`
	Firmware texts `toml:"firmware"`
}

// rawSettings are the keys that a host, a group and the default share.
type rawSettings struct {
	Profile      text    `toml:"profile"`
	Default      text    `toml:"default"`
	Args         texts   `toml:"args"`
	Timeout      text    `toml:"timeout"`
	OnFailure    text    `toml:"on_failure"`
	LocalBoot    text    `toml:"local_boot"`
	Loader       text    `toml:"loader"`
	Chainload    text    `toml:"chainload"`
	Arch         text    `toml:"arch"`
	Firmware     text    `toml:"firmware"`
	NulTerminate boolean `toml:"nul_terminate"`
}

type rawHost struct {
	table
	Name    text  `toml:"name"`
	MAC     texts `toml:"mac"`
	UUID    text  `toml:"uuid"`
	Address text  `toml:"address"`
	rawSettings
}

type rawGroup struct {
	table
	Name  text     `toml:"name"`
	Match rawMatch `toml:"match"`
	rawSettings
}

type rawMatch struct {
	table
	MAC      text `toml:"mac"`
	Subnet   text `toml:"subnet"`
	Arch     text `toml:"arch"`
	Firmware text `toml:"firmware"`
}

type rawDefault struct {
	table
	Action text `toml:"action"`
	rawSettings
}

type rawLog struct {
	table
	Level  text `toml:"level"`
	Format text `toml:"format"`
}
