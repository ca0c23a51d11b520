package tshcmd

import (
	"context"
	"slices"
	"strings"

	"teleport/client"
	"teleport/fault"
	"teleport/types"
)

// sought says which resource is meant: by name, or as the only one that matches.
type sought struct{ labels, query, name string }

// findFronted finds one of what agents front. what is it in messages, and ls the
// command that lists them.
func findFronted[S types.FrontedServer](ctx context.Context, list func(context.Context, client.Filter) ([]S, error), w sought, what, ls string) (found S, err error) {
	filter := client.Filter{Query: w.query}
	if w.labels != "" {
		if filter.Labels, err = parseLabels([]string{w.labels}); err != nil {
			return found, err
		}
	}
	servers, err := list(ctx, filter)
	if err != nil {
		return found, err
	}
	if w.name != "" {
		servers = slices.DeleteFunc(servers, func(s S) bool { return s.Of().Head().Name() != w.name })
	}
	switch {
	case len(servers) == 1:
		return servers[0], nil
	case len(servers) > 1:
		var names strings.Builder
		for _, s := range servers {
			names.WriteString("\n" + s.Of().Head().Name())
		}
		return found, fault.New(fault.Conflict, "several %ss match:%s", what, names.String()).WithHint("name the one that you mean")
	case w.name == "":
		return found, fault.New(fault.NotFound, "there is no %s that you may see and that matches", what).WithHint("%s lists what you can reach", ls)
	}
	return found, fault.New(fault.NotFound, "there is no %s %q, or you may not see it", what, w.name).WithHint("%s lists what you can reach", ls)
}
