package bootscript

import (
	"fmt"
	"strings"
)

// iPXE has no quotes. It splits a line at white space, takes the tokens "||",
// "&&" and ";" for operators and one that begins with "#" for a comment, and
// only then expands ${settings} in each token, without looking at the result
// again (src/core/exec.c, system). A backslash at the end of a line continues
// it (src/image/script.c). So whatever must not be seen while the line is split
// comes in through a setting.
const (
	spaceSetting = "${sp:string}"   // a space
	tabSetting   = "${tab:string}"  // a tab
	nothing      = "${none:string}" // never set, so it expands to nothing
)

// whiteSpaceSettings defines what appendToken refers to.
const whiteSpaceSettings = "set sp:hex 20\nset tab:hex 09\n"

// mostLine is the longest line that a script may have, in bytes. Linux cuts
// its command line at 2048 on x86 without a word, so anything longer could not
// arrive whole; iPXE's own BIOS stack of 4 kB is not far above.
const mostLine = 2048

// checkValue says why a value can't be put into a script, or returns nil.
func checkValue(s string) error {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("%.60q has a control character, which no iPXE script can carry", s)
		}
	}
	if open := strings.Index(s, "${"); open >= 0 && strings.Contains(s[open:], "}") {
		return fmt.Errorf("%.60q has ${...}, which iPXE replaces by its own setting, with no way to prevent it", s)
	}
	return nil
}

// appendToken adds a value as one token of a line, so that it arrives as it is.
func appendToken(dst []byte, s string) []byte {
	switch {
	case s == "":
		return append(dst, nothing...)
	case s == "||" || s == "&&" || s == ";" || s[0] == '#':
		dst = append(dst, nothing...)
	}
	for i := range len(s) {
		switch c := s[i]; c {
		case ' ':
			dst = append(dst, spaceSetting...)
		case '\t':
			dst = append(dst, tabSetting...)
		default:
			dst = append(dst, c)
		}
	}
	if s[len(s)-1] == '\\' {
		dst = append(dst, nothing...)
	}
	return dst
}

// appendText adds words to be shown, as the rest of a line. What can't be shown
// as it is becomes a question mark: a label is worth less than a boot.
func appendText(dst []byte, s string) []byte {
	if isPlain(s) {
		return append(dst, s...)
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c < ' ' || c == 0x7f || c == '$':
			c = '?'
		case (c == '#' || c == '|' || c == '&' || c == ';') && (i == 0 || s[i-1] == ' '):
			dst = append(dst, nothing...)
		case c == ' ' && (i == 0 || i == len(s)-1 || s[i+1] == ' '):
			// iPXE joins the words of a text with single spaces.
			dst = append(dst, spaceSetting...)
			continue
		}
		dst = append(dst, c)
	}
	if s != "" && s[len(s)-1] == '\\' {
		dst = append(dst, nothing...)
	}
	return dst
}

// isPlain reports whether words can be shown as they are, as most can.
func isPlain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f, strings.IndexByte("$#|&;\\", c) >= 0:
			return false
		case c == ' ' && (i == 0 || i == len(s)-1 || s[i+1] == ' '):
			return false
		}
	}
	return true
}
