package tshcmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/fault"
	"teleport/types"
)

const lsLong = `List the servers that you may see.

Labels given as arguments must all match. --search looks for words in names,
addresses and labels; --query takes an expression over labels["k"], name and
resource.* with == != && || ! and the functions equals, exists, hasPrefix,
search, split and contains.

An address "⟵ Tunnel" means that the server listens nowhere: it is reached
through the connection that it keeps to the proxy.`

const lsExample = `  tsh ls
  tsh ls env=prod,team=db
  tsh ls --search=web,eu
  tsh ls --query='labels["env"] == "prod" && hasPrefix(name, "web-")'
  tsh ls --format=names | xargs -n1 -I{} tsh ssh root@{} uptime`

type lsFlags struct {
	format  string
	query   string
	search  string
	verbose bool
}

func (a *app) lsCmd() *cobra.Command {
	var f lsFlags
	cmd := &cobra.Command{
		Use: "ls [label=value,...]", Short: "List servers", Long: lsLong, Example: lsExample,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.ls(cmd.Context(), f, args) },
	}
	a.formatFlag(cmd, &f.format, textFormat, jsonFormat, yamlFormat, namesFormat)
	cmd.Flags().StringVar(&f.query, "query", "", "show only what this expression is true of")
	cmd.Flags().StringVar(&f.search, "search", "", "show only what all these comma-separated words are found in")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "show host UUIDs and whole labels")
	return cmd
}

func (a *app) ls(ctx context.Context, f lsFlags, args []string) error {
	if err := checkFormat(f.format, textFormat, jsonFormat, yamlFormat, namesFormat); err != nil {
		return err
	}
	filter := client.Filter{Query: f.query}
	var err error
	if filter.Labels, err = parseLabels(args); err != nil {
		return err
	}
	filter.Search = words(f.search)
	c, _, err := a.connect()
	if err != nil {
		return err
	}
	nodes, err := c.Nodes(ctx, filter)
	if err != nil {
		return err
	}
	slices.SortFunc(nodes, func(x, y *types.Node) int {
		return strings.Compare(x.Spec.Hostname+"\x00"+x.Name(), y.Spec.Hostname+"\x00"+y.Name())
	})
	return a.writeNodes(nodes, f)
}

func (a *app) writeNodes(nodes []*types.Node, f lsFlags) error {
	switch f.format {
	case jsonFormat, yamlFormat:
		if nodes == nil {
			nodes = []*types.Node{}
		}
		return a.writeDocs(f.format, nodes)
	case namesFormat:
		for _, n := range nodes {
			fmt.Fprintln(a.out, clean(n.Spec.Hostname))
		}
		return nil
	}
	if len(nodes) == 0 {
		fmt.Fprintln(a.errs, "There is no node that you may reach and that matches.")
		return nil
	}
	head := []string{"Node Name", "Address", "Labels"}
	if f.verbose {
		head = []string{"Node Name", "Node ID", "Address", "Labels"}
	}
	rows := make([][]string, 0, len(nodes))
	for _, n := range nodes {
		row := []string{n.Spec.Hostname, nodeAddress(n), labelText(n.AllLabels(), f.verbose)}
		if f.verbose {
			row = slices.Insert(row, 1, n.Name())
		}
		rows = append(rows, row)
	}
	return a.writeTable(head, rows)
}

func nodeAddress(n *types.Node) string {
	if n.Spec.UseTunnel || n.Spec.Addr == "" {
		return "⟵ Tunnel"
	}
	return n.Spec.Addr
}

// labelText writes labels in order of their keys. Reserved ones show only in
// the long form.
func labelText(labels map[string]string, all bool) string {
	var list []string
	for k, v := range labels {
		if all || !strings.HasPrefix(k, "teleport.") {
			list = append(list, k+"="+v)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// parseLabels reads k=v,k2=v2 arguments. Commas inside double quotes belong to
// the value.
func parseLabels(args []string) (map[string]string, error) {
	labels := make(map[string]string)
	for _, arg := range args {
		for _, pair := range splitQuoted(arg) {
			k, v, ok := strings.Cut(pair, "=")
			if k = strings.TrimSpace(k); !ok || k == "" {
				return nil, fault.New(fault.Invalid, "%q is not a label", pair).WithHint("write labels as key=value,key=value")
			}
			labels[k] = strings.Trim(v, `"`)
		}
	}
	return labels, nil
}

func splitQuoted(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}
