package tctlcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/cli/output"
	"teleport/fault"
	"teleport/types"
	"teleport/types/schema"
)

func (a *app) resourceCmds() []*cobra.Command {
	return []*cobra.Command{a.getCmd(), a.createCmd(), a.editCmd(), a.rmCmd(), a.updateCmd(), a.schemaCmd()}
}

// parseRef reads kind, kind/name or kind/sub_kind/name.
func parseRef(s string) (types.KindInfo, authclient.Ref, error) {
	parts := strings.SplitN(s, "/", 3)
	info, err := types.KindByName(parts[0])
	if err != nil {
		return info, authclient.Ref{}, err
	}
	if info.Internal {
		return info, authclient.Ref{}, fault.New(fault.NotFound, "there is no kind of resource called %q", parts[0])
	}
	ref := authclient.Ref{Kind: info.Name}
	switch {
	case len(parts) == 3 && len(info.SubKinds) > 0:
		ref.SubKind, ref.Name = parts[1], parts[2]
	case len(parts) >= 2:
		ref.Name = strings.Join(parts[1:], "/")
	case info.Singleton != "":
		ref.Name = info.Singleton
	}
	return info, ref, nil
}

// fetch returns the documents that a reference names: one, or all of a kind.
func fetch(ctx context.Context, api *authclient.Client, ref authclient.Ref, o authclient.ListOptions) ([]types.Resource, error) {
	if ref.Name != "" && (ref.SubKind != "" || ref.Kind != types.KindCertAuthority) {
		raw, err := api.GetDocument(ctx, ref, o.WithSecrets)
		if err != nil {
			return nil, err
		}
		doc, err := decodeLenient(raw)
		return []types.Resource{doc}, err
	}
	var docs []types.Resource
	for raw, err := range api.ListDocuments(ctx, ref.Kind, o) {
		if err != nil {
			return nil, err
		}
		doc, err := decodeLenient(raw)
		if err != nil {
			return nil, err
		}
		if ref.Name == "" || doc.Head().SubKind == ref.Name || doc.Head().Name() == ref.Name {
			docs = append(docs, doc)
		}
	}
	return docs, nil
}

func decodeLenient(raw []byte) (types.Resource, error) {
	doc, _, err := types.DecodeLenient(raw)
	return doc, err
}

func (a *app) getCmd() *cobra.Command {
	var format string
	var filter *authclient.ListOptions
	c := a.verb("get KIND[/NAME][,…]", "Print resources", "  tctl get roles\n  tctl get user/alice --format=json\n  tctl get users --query='contains(resource.spec.roles, \"editor\")'\n  tctl get all", cobra.ExactArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			f, err := output.ParseFormat(format)
			if err != nil {
				return err
			}
			docs, err := a.collect(ctx, api, args[0], *filter)
			if err != nil {
				return err
			}
			if f != output.Text {
				return output.WriteDocuments(a.Out, f, docs)
			}
			t := output.NewTable("Kind", "Name", "Version", "Labels", "Revision")
			for _, d := range docs {
				h := d.Head()
				t.Row(h.Kind, h.Name(), h.Version, output.Labels(h.Metadata.Labels), h.Metadata.Revision)
			}
			return a.table(t, "document")
		})
	c.Flags().StringVarP(&format, "format", "f", "yaml", "text, json or yaml")
	filter = filterFlags(c.Flags())
	c.Flags().BoolVar(&filter.WithSecrets, "with-secrets", false, "include secret fields, where you may see them")
	return c
}

func (a *app) collect(ctx context.Context, api *authclient.Client, what string, o authclient.ListOptions) ([]types.Resource, error) {
	var refs []authclient.Ref
	if what == "all" {
		for _, k := range types.Kinds() {
			if !k.Internal && !k.Presence {
				refs = append(refs, authclient.Ref{Kind: k.Name})
			}
		}
	} else {
		for _, s := range strings.Split(what, ",") {
			_, ref, err := parseRef(s)
			if err != nil {
				return nil, err
			}
			refs = append(refs, ref)
		}
	}
	docs := []types.Resource{}
	for _, ref := range refs {
		if ref.Name != "" && (o.Query != "" || len(o.Search) > 0) {
			return nil, fault.New(fault.Invalid, "--query and --search are for lists; %s/%s names one resource", ref.Kind, ref.Name)
		}
		found, err := fetch(ctx, api, ref, o)
		if err != nil {
			if what == "all" && errors.Is(err, fault.Denied) {
				continue // all means: all that I may see
			}
			return nil, err
		}
		docs = append(docs, found...)
	}
	return docs, nil
}

func (a *app) createCmd() *cobra.Command {
	var force bool
	c := a.verb("create [FILE]", "Create resources from a YAML or JSON file, or from standard input", "  tctl create role.yaml\n  tctl create -f role.yaml   # replace what exists", cobra.MaximumNArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			docs, err := a.readFile(args)
			if err != nil {
				return err
			}
			mode, done := authclient.Create, "created"
			if force {
				mode, done = authclient.Upsert, "written"
			}
			return a.put(ctx, api, mode, done, docs)
		})
	c.Flags().BoolVarP(&force, "force", "f", false, "replace resources that exist")
	return c
}

func (a *app) readFile(args []string) ([]types.Resource, error) {
	if len(args) == 0 || args[0] == "-" {
		return output.ReadDocuments("stdin", a.In)
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, fault.Unreadable(err, args[0])
	}
	defer f.Close()
	return output.ReadDocuments(args[0], f)
}

func (a *app) put(ctx context.Context, api *authclient.Client, mode authclient.PutMode, done string, docs []types.Resource) error {
	if len(docs) == 0 {
		return fault.New(fault.Invalid, "there is no document in the input")
	}
	for _, d := range docs {
		raw, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if _, err := api.PutDocument(ctx, mode, raw); err != nil {
			if mode == authclient.Create && errors.Is(err, fault.AlreadyExists) {
				return fault.New(fault.AlreadyExists, "%s %q exists already", d.Head().Kind, d.Head().Name()).WithHint("Use tctl create -f to replace it.")
			}
			return err
		}
		if _, err := fmt.Fprintf(a.Out, "%s %q was %s.\n", d.Head().Kind, d.Head().Name(), done); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) editCmd() *cobra.Command {
	return a.verb("edit KIND/NAME", "Edit a resource in your editor", "  EDITOR=nano tctl edit role/access", cobra.ExactArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			_, ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			if ref.Name == "" {
				return fault.New(fault.Invalid, "name one resource: KIND/NAME")
			}
			docs, err := fetch(ctx, api, ref, authclient.ListOptions{})
			if err != nil {
				return err
			}
			if len(docs) != 1 {
				return fault.New(fault.NotFound, "%s names %d resources", args[0], len(docs))
			}
			return a.editDocument(ctx, api, docs[0])
		})
}

// editDocument lets the person edit until the document is good or given up; what
// was written is never lost to a typing error.
func (a *app) editDocument(ctx context.Context, api *authclient.Client, doc types.Resource) error {
	var text bytes.Buffer
	if err := output.WriteDocuments(&text, output.YAML, []types.Resource{doc}); err != nil {
		return err
	}
	before := text.Bytes()
	f, err := os.CreateTemp("", "tctl-edit-*.yaml")
	if err != nil {
		return fault.Unwritable(err, os.TempDir())
	}
	path := f.Name()
	if _, err = f.Write(before); err != nil {
		return errors.Join(fault.Unwritable(err, path), f.Close(), os.Remove(path))
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := a.runEditor(ctx, path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	after, err := os.ReadFile(path)
	if err != nil {
		return fault.Unreadable(err, path)
	}
	if bytes.Equal(before, after) {
		fmt.Fprintln(a.Out, "Nothing was changed.")
		return os.Remove(path)
	}
	docs, err := output.ReadDocuments(path, bytes.NewReader(after))
	if err == nil {
		err = sameDocument(doc, docs)
	}
	if err == nil {
		err = a.put(ctx, api, authclient.Update, "updated", docs)
	}
	if err != nil {
		fmt.Fprintf(a.Err, "Your text is kept in %s.\n", path)
		return err
	}
	return os.Remove(path)
}

func sameDocument(before types.Resource, docs []types.Resource) error {
	if len(docs) != 1 {
		return fault.New(fault.Invalid, "the file must hold one document")
	}
	b, n := before.Head(), docs[0].Head()
	if b.Kind != n.Kind || b.SubKind != n.SubKind || b.Name() != n.Name() {
		return fault.New(fault.Invalid, "a resource cannot be renamed").WithHint("Create the new one and remove the old one.")
	}
	return nil
}

func (a *app) runEditor(ctx context.Context, path string) error {
	editor := first(a.Getenv("TELEPORT_EDITOR"), a.Getenv("VISUAL"), a.Getenv("EDITOR"), "vi")
	words := strings.Fields(editor)
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], path)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.In, a.Out, a.Err
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return fault.Wrap(err, fault.Invalid, "the editor %q ended with %v; nothing was changed", editor, exit)
	case err != nil:
		return fault.Advise(fault.Wrap(err, fault.Invalid, "the editor %q cannot be run", editor), "name one that is installed: EDITOR=nano tctl edit …")
	}
	return nil
}

func (a *app) rmCmd() *cobra.Command {
	return a.verb("rm KIND/NAME", "Delete a resource", "  tctl rm role/old", cobra.ExactArgs(1), func(ctx context.Context, api *authclient.Client, args []string) error {
		info, ref, err := parseRef(args[0])
		if err != nil {
			return err
		}
		if ref.Name == "" || info.Singleton != "" {
			return fault.New(fault.Invalid, "name one resource that can be deleted: KIND/NAME")
		}
		if err := api.Delete(ctx, ref, ""); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.Out, "%s %q was deleted.\n", ref.Kind, ref.Name)
		return err
	})
}

func (a *app) updateCmd() *cobra.Command {
	var labels []string
	var description string
	c := a.verb("update KIND/NAME", "Change labels or description of a resource", "  tctl update role/dev --set-labels=team=web", cobra.ExactArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			_, ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			docs, err := fetch(ctx, api, ref, authclient.ListOptions{})
			if err != nil {
				return err
			}
			if len(docs) != 1 {
				return fault.New(fault.NotFound, "%s names %d resources", args[0], len(docs))
			}
			m := &docs[0].Head().Metadata
			if len(labels) > 0 {
				m.Labels = map[string]string{}
			}
			for _, kv := range labels {
				k, v, ok := strings.Cut(kv, "=")
				if !ok {
					return fault.New(fault.Invalid, "label %q is not written key=value", kv)
				}
				m.Labels[k] = v
			}
			if description != "" {
				m.Description = description
			}
			return a.put(ctx, api, authclient.Update, "updated", docs)
		})
	c.Flags().StringSliceVar(&labels, "set-labels", nil, "replace the labels: k=v,k2=v2")
	c.Flags().StringVar(&description, "set-description", "", "replace the description")
	c.MarkFlagsOneRequired("set-labels", "set-description")
	return c
}

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{Use: "schema KIND", Short: "Print the JSON Schema of a kind", Args: cobra.ExactArgs(1), Example: "  tctl schema role > role.schema.json",
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := schema.For(args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.Out, string(b)+"\n")
			return err
		}}
}
