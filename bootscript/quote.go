package bootscript

import (
	"fmt"
	"strings"
)

// iPXE has no quotes. It splits a line at white space, takes the tokens "||",
// "&&" and ";" for operators and one that begins with "#" for a comment, and
// only then expands ${settings} in each token (src/core/exec.c, system). A
// backslash at the end of a line continues it (src/image/script.c). So whatever
// must not be seen while the line is split comes in through a setting.
//
// The expansion goes on until no ${...} is left (src/core/settings.c,
// expand_settings), so no trick can make a token that has one.
const (
	spaceSetting = "${sp:string}"   // a space
	tabSetting   = "${tab:string}"  // a tab
	nothing      = "${none:string}" // never set, so it expands to nothing
)

// whiteSpaceSettings defines what appendToken refers to.
const whiteSpaceSettings = "set sp:hex 20\nset tab:hex 09\n"

// mostCommandLine is the longest kernel command line, in bytes. Linux keeps 2047
// on x86 and arm64 and drops the rest without a word, and iPXE of 2019 leaves
// no room for the last one (src/arch/x86/image/bzimage.c).
const mostCommandLine = 2046

// mostArguments is how many tokens iPXE lets follow a command
// (src/include/ipxe/parseopt.h, MAX_ARGUMENTS); so many fit on the 4 kB stack
// of a BIOS build of 2019.
const mostArguments = 255

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

// checkWord says why a value can't stand in a script as it is, or returns nil:
// for URLs and names, where white space has no business.
func checkWord(s string) error {
	if strings.ContainsAny(s, " \t") || s == "" || s[0] == '#' || s[len(s)-1] == '\\' {
		return fmt.Errorf("%.60q is not one word", s)
	}
	return checkValue(s)
}

// checkArguments says why a URL and the arguments after it can't be given to a
// command, or returns nil. EFI puts the name of the file in front of what the
// kernel is given.
func checkArguments(url string, args []string) error {
	if err := checkWord(url); err != nil {
		return fmt.Errorf("URL %w", err)
	}
	length := len(url) - strings.LastIndexByte(url, '/') - 1
	for _, arg := range args {
		if err := checkValue(arg); err != nil {
			return fmt.Errorf("argument %w", err)
		}
		length += 1 + len(arg)
	}
	switch {
	case length > mostCommandLine:
		return fmt.Errorf("the kernel command line is %d bytes long, and Linux reads %d: take kernel arguments out", length, mostCommandLine)
	case len(args) >= mostArguments:
		return fmt.Errorf("%d kernel arguments, and iPXE takes %d: take some out", len(args), mostArguments-1)
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
