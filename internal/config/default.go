package config

import (
	"log/slog"
	"time"

	"ravenboot/internal/boot"
)

// defaultKeep is how many generations of a profile are offered: as many as a
// text screen's menu holds beside images and the local disk.
const defaultKeep = 10

// defaultLease is short, so that a lab's addresses are free again soon after
// its machines were switched off.
const defaultLease = time.Hour

// Default is the configuration that an empty file stands for.
func Default() *Config {
	return &Config{
		Server: Server{StateDir: "/var/lib/ravenboot"},
		DHCP:   DHCP{Mode: ModeProxy, Port: 67, ProxyPort: 4011, EFIOption43: true},
		TFTP: TFTP{
			Listen: ":69",
			// The largest block that fits into an Ethernet frame of 1500 bytes
			// with the headers of IPv4, UDP and TFTP; more is sent in fragments,
			// which some ROMs can't put together.
			BlockSize:       1468,
			MaxTransfers:    256,
			ScriptForLoader: ScriptAuto,
		},
		HTTP:  HTTP{Listen: ":80", MaxTransfers: 256},
		Cache: defaultCache,
		Admin: Admin{Listen: "127.0.0.1:9080"},
		Boot: boot.Policy{
			Menu: boot.Menu{Title: "Network boot", Timeout: 5 * time.Second, Shell: true, Rounds: 10},
			Default: boot.Default{Action: boot.ActionMenu, Settings: boot.Settings{
				OnFailure: boot.FailureRetry,
				LocalBoot: boot.LocalAuto,
				Chainload: boot.ChainloadAuto,
			}},
		},
		Log: Log{Level: slog.LevelInfo, Format: LogAuto},
	}
}
