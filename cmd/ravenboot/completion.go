package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
)

var completionCommand = command{
	name:    "completion",
	summary: "prints the completion of these commands for a shell: bash, zsh or fish",
	usage:   "SHELL",
	example: "  source <(ravenboot completion bash)\n  ravenboot completion fish > ~/.config/fish/completions/ravenboot.fish\n",
}

// The command's function lists all commands, so it can't be in the list's own
// initialisation.
func init() { completionCommand.run = printCompletion }

func printCompletion(_ context.Context, c *invocation) error {
	printers := map[string]func(*invocation){"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	print, ok := printers[c.Arg(0)]
	if !ok || c.NArg() != 1 {
		return usageError{fmt.Errorf("name one shell: bash, zsh or fish")}
	}
	print(c)
	return nil
}

// flagNames are a command's flags with their dash.
func (c *command) flagNames() []string {
	in := &invocation{FlagSet: flag.NewFlagSet(c.name, flag.ContinueOnError)}
	if c.flags != nil {
		c.flags(in)
	}
	names := []string{"-h"}
	in.VisitAll(func(f *flag.Flag) { names = append(names, "-"+f.Name) })
	return names
}

func commandNames() string {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return strings.Join(names, " ")
}

func bashCompletion(c *invocation) {
	fmt.Fprintf(c.stdout, `_ravenboot() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
	case $before in
	-config) COMPREPLY=($(compgen -f -- "$word")); return ;;
	completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")); return ;;
	esac
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W "help %s" -- "$word"))
		return
	fi
	case ${COMP_WORDS[1]} in
`, commandNames())
	for _, command := range commands() {
		fmt.Fprintf(c.stdout, "\t%s) COMPREPLY=($(compgen -W \"%s\" -- \"$word\")) ;;\n",
			command.name, strings.Join(command.flagNames(), " "))
	}
	fmt.Fprint(c.stdout, "\tesac\n}\ncomplete -F _ravenboot ravenboot\n")
}

// zshCompletion goes through zsh's own reader of bash completions.
func zshCompletion(c *invocation) {
	fmt.Fprint(c.stdout, "autoload -U +X bashcompinit && bashcompinit\n")
	bashCompletion(c)
}

func fishCompletion(c *invocation) {
	fmt.Fprintf(c.stdout, "complete -c ravenboot -f -n __fish_use_subcommand -a 'help %s'\n", commandNames())
	for _, command := range commands() {
		for _, name := range command.flagNames() {
			files := ""
			if name == "-config" {
				files = " -rF"
			}
			fmt.Fprintf(c.stdout, "complete -c ravenboot -f -n '__fish_seen_subcommand_from %s' -o %s%s\n",
				command.name, strings.TrimPrefix(name, "-"), files)
		}
	}
	fmt.Fprint(c.stdout, "complete -c ravenboot -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n")
}
