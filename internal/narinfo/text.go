package narinfo

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Text is what Parse reads.
func (i *Info) Text(storeDir string) []byte {
	var text bytes.Buffer
	line := func(key, value string) { fmt.Fprintf(&text, "%s: %s\n", key, value) }
	line("StorePath", storeDir+"/"+i.Base)
	line("URL", i.URL)
	line("Compression", i.Compression)
	if i.FileHash != nil {
		line("FileHash", FormatHash(*i.FileHash))
	}
	if i.FileSize != 0 {
		line("FileSize", strconv.FormatInt(i.FileSize, 10))
	}
	line("NarHash", FormatHash(i.NarHash))
	line("NarSize", strconv.FormatInt(i.NarSize, 10))
	line("References", strings.Join(i.References, " "))
	if i.Deriver != "" {
		line("Deriver", i.Deriver)
	}
	for _, signature := range i.Signatures {
		line("Sig", signature)
	}
	if i.CA != "" {
		line("CA", i.CA)
	}
	return text.Bytes()
}
