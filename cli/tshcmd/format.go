package tshcmd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"teleport/cli/output"
	"teleport/client/terminal"
	"teleport/fault"
)

// Output formats.
const (
	textFormat  = "text"
	jsonFormat  = "json"
	yamlFormat  = "yaml"
	namesFormat = "names"
)

func (a *app) formatFlag(cmd *cobra.Command, target *string, formats ...string) {
	cmd.Flags().StringVarP(target, "format", "f", textFormat, "output: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

func checkFormat(format string, known ...string) error {
	if slices.Contains(known, format) {
		return nil
	}
	return fault.New(fault.Invalid, "--format=%s is not known", format).WithHint("formats: %s", strings.Join(known, ", "))
}

// writeDocs writes any value as JSON or YAML; both show the JSON field names.
func (a *app) writeDocs(format string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if format == yamlFormat {
		if data, err = yaml.JSONToYAML(data); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(a.out, "%s\n", strings.TrimRight(string(data), "\n"))
	return err
}

// writeTable writes aligned columns, shortened to fit a terminal, but for the
// first: it names what the next command is about.
func (a *app) writeTable(head []string, rows [][]string) error {
	t := output.NewTable(head...).Whole()
	for _, row := range rows {
		t.Row(row...)
	}
	return t.Write(a.out, terminal.Width(a.out))
}
