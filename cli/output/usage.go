package output

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"teleport/fault"
)

// Strict makes a command line complain as the rest of the program does: wrong
// flags, arguments and commands become faults of one line, with the nearest
// name that exists. Call it on the root when all commands are added.
func Strict(root *cobra.Command) {
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return flagFault(c, err) })
	strict(root)
}

func strict(c *cobra.Command) {
	check, group := c.Args, c.HasSubCommands()
	c.Args = func(c *cobra.Command, args []string) error {
		switch {
		case group && len(args) > 0:
			return unknownCommand(c, args[0])
		case check == nil:
			return nil
		}
		err := check(c, args)
		switch {
		case err == nil:
			return nil
		case len(args) > 0 && strings.HasPrefix(err.Error(), "unknown command"):
			err = fault.New(fault.Invalid, "%s takes no argument, and got %q", c.CommandPath(), args[0])
		default:
			err = fault.New(fault.Invalid, "%s", counts.ReplaceAllString(err.Error(), "argument"))
		}
		return fault.Advise(err, "use: %s", c.UseLine())
	}
	if group && c.Run == nil && c.RunE == nil {
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if run := c.RunE; run != nil {
		// Cobra asks for required flags itself, in words that are no fault.
		c.PreRunE = required(c.PreRunE)
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
}

var counts = regexp.MustCompile(`arg\(s\)`)

// required looks for flags that must be given before cobra does.
func required(next func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if err := c.ValidateRequiredFlags(); err != nil {
			var names []string
			for _, m := range quoted.FindAllStringSubmatch(err.Error(), -1) {
				names = append(names, "--"+m[1])
			}
			return fault.New(fault.Invalid, "%s needs %s", c.CommandPath(), strings.Join(names, " and ")).
				WithHint("see: %s --help", c.CommandPath())
		}
		if next != nil {
			return next(c, args)
		}
		return nil
	}
}

var quoted = regexp.MustCompile(`"([a-z][a-z0-9-]*)"`)

func unknownCommand(c *cobra.Command, word string) error {
	err := fault.New(fault.Invalid, "%s has no command %q", c.CommandPath(), word)
	if c.SuggestionsMinimumDistance == 0 {
		c.SuggestionsMinimumDistance = 2
	}
	if near := c.SuggestionsFor(word); len(near) > 0 {
		return err.WithHint("did you mean %s %s?", c.CommandPath(), strings.Join(near, ", or "+c.CommandPath()+" "))
	}
	return err.WithHint("see: %s --help", c.CommandPath())
}

// flagFault says in plain words what the flag parser has in its own.
func flagFault(c *cobra.Command, err error) error {
	text := err.Error()
	if m := badValue.FindStringSubmatch(text); m != nil {
		text = m[2] + " " + m[1] + " is not " + valueForm(m[3])
	}
	return fault.New(fault.Invalid, "%s", text).WithHint("see: %s --help", c.CommandPath())
}

// badValue reads: invalid argument "xx" for "-t, --ttl" flag: time: invalid duration "xx".
var badValue = regexp.MustCompile(`(?s)^invalid argument (".*") for "(?:-., )?(--[a-z0-9-]+)" flag: (.*)$`)

func valueForm(complaint string) string {
	switch {
	case strings.Contains(complaint, "duration"):
		return "a duration: write it like 30m or 12h"
	case strings.Contains(complaint, "is not a format"):
		return "a format: use text, json or yaml"
	case strings.Contains(complaint, "ParseBool"):
		return "true or false"
	case strings.Contains(complaint, "out of range"):
		return "in range"
	case strings.Contains(complaint, "ParseInt"), strings.Contains(complaint, "ParseUint"), strings.Contains(complaint, "Atoi"):
		return "a number"
	}
	return "understood: " + complaint
}
