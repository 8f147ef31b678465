package assets

import (
	"io"
	"reflect"
)

// askedByIPXE reports whether a read request is iPXE's own, and not one of the
// firmware's before it. iPXE asks with the options "blksize 1432 tsize 0" and no
// other (its tftp.c); OVMF sends "tsize 0 blksize 1468 windowsize 4", and ROMs
// other sizes again.
//
// pin/tftp has read the options by then, but shows them only when the transfer
// has ended, so they are taken from its private field. If a later version has
// none of that name, nobody is taken for iPXE; TestAskedByIPXE fails then.
func askedByIPXE(to io.ReaderFrom) bool {
	v := reflect.Indirect(reflect.ValueOf(to))
	if v.Kind() != reflect.Struct {
		return false
	}
	options := v.FieldByName("opts")
	return options.IsValid() && options.Kind() == reflect.Map && options.Len() == 2 &&
		option(options, "blksize") == "1432" && option(options, "tsize") == "0"
}

func option(options reflect.Value, name string) string {
	if value := options.MapIndex(reflect.ValueOf(name)); value.IsValid() && value.Kind() == reflect.String {
		return value.String()
	}
	return ""
}
