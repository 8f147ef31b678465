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
	plain := 0 // what of s is still to be copied as it is
	for i := range len(s) {
		if !special[s[i]] {
			continue
		}
		shown, as := showSpecial(s, i)
		if as == "" {
			continue
		}
		dst = append(append(dst, s[plain:i]...), as...)
		plain = i + 1
		if shown {
			plain = i
		}
	}
	return append(dst, s[plain:]...)
}

// special marks the bytes that showSpecial looks at.
var special = func() (t [256]bool) {
	for c := range 0x20 {
		t[c] = true
	}
	for _, c := range " $#|&;\\\x7f" {
		t[c] = true
	}
	return t
}()

// showSpecial says what stands in a text for the byte at i, before it if shown,
// else in its place; "" leaves it alone.
func showSpecial(s string, i int) (shown bool, as string) {
	switch s[i] {
	case ' ':
		// iPXE joins the words of a text with single spaces.
		if i == 0 || i == len(s)-1 || s[i+1] == ' ' {
			return false, spaceSetting
		}
	case '#', '|', '&', ';':
		if i == 0 || s[i-1] == ' ' {
			return true, nothing
		}
	case '\\':
		if i == len(s)-1 {
			return false, "\\" + nothing
		}
	default:
		return false, "?"
	}
	return false, ""
}
