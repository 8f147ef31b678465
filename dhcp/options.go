package dhcp

// The option codes that are read and written here (RFC 2132 unless said).
const (
	optPad              = 0
	optSubnetMask       = 1
	optRouter           = 3
	optDNS              = 6
	optHostName         = 12
	optDomain           = 15
	optBroadcast        = 28
	optNTP              = 42
	optVendorSpecific   = 43
	optRequestedAddress = 50
	optLeaseTime        = 51
	optMessageType      = 53
	optServerID         = 54
	optMessage          = 56
	optMaxSize          = 57
	optT1               = 58
	optT2               = 59
	optClass            = 60
	optClientID         = 61
	optTFTPServer       = 66
	optBootFile         = 67
	optUserClass        = 77  // RFC 3004
	optRelayAgent       = 82  // RFC 3046
	optArch             = 93  // RFC 4578
	optMachineID        = 97  // RFC 4578
	optSubnetSelection  = 118 // RFC 3011
	optIPXE             = 175 // iPXE, src/include/ipxe/dhcp.h
	optEnd              = 255
)
