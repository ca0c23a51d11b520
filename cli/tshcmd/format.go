package tshcmd

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

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

// writeTable writes aligned columns. Cells come from the cluster, so control
// characters are dropped.
func writeTable(w io.Writer, head []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	line := make([]string, len(head))
	for i, h := range head {
		line[i] = strings.Repeat("-", len(h))
	}
	for _, row := range append([][]string{head, line}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(clean(c))
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	return t.Flush()
}
