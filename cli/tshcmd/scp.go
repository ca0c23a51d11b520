package tshcmd

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/cli/output"
	"teleport/client/filecopy"
	"teleport/client/terminal"
	"teleport/fault"
)

const scpLong = `Copy files to a server or from one.

One side is [user@]host:path, the other is here; several sources need a directory
as destination. Patterns (* ? [...]) in paths on the server are expanded there.
Relative paths on the server start in the login's home directory.

A file appears under its name only when it has been copied whole. Tell a local
file whose name has a colon from a server by a slash: ./a:b.

The exit code is 0 when all files were copied; failures on the way to the server
end with 255.`

const scpExample = `  tsh scp report.pdf alice@web-1:
  tsh scp -r root@web-1:/var/log/nginx ./logs
  tsh scp 'root@web-1:/etc/*.conf' ./etc/
  tsh scp -p a b c root@web-1:/srv/`

type scpFlags struct {
	recursive bool
	preserve  bool
	quiet     bool
	port      int
}

func (a *app) scpCmd() *cobra.Command {
	var f scpFlags
	cmd := &cobra.Command{
		Use: "scp [flags] source... destination", Short: "Copy files to or from a server", Long: scpLong, Example: scpExample,
		Args: cobra.MinimumNArgs(2), Annotations: map[string]string{likeSSH: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error { return a.scp(cmd.Context(), f, args) },
	}
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "r", false, "copy directories with all that is in them")
	cmd.Flags().BoolVarP(&f.preserve, "preserve", "p", false, "keep modification times and modes")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	a.resumeFlag(cmd.Flags())
	cmd.Flags().IntVarP(&f.port, "port", "P", 0, "port of the server, where it is named by address")
	return cmd
}

// remoteFile splits [user@]host:path. A path here has no colon before its
// first slash.
func remoteFile(arg string) (host, path string, remote bool) {
	at := 0
	if i := strings.Index(arg, "["); i >= 0 && !strings.ContainsAny(arg[:i], ":/") { // [::1]:path
		if j := strings.Index(arg, "]:"); j > i {
			at = j + 1
		}
	}
	i := strings.IndexByte(arg[at:], ':')
	if i < 0 || at+i == 0 || strings.ContainsRune(arg[:at+i], '/') {
		return "", arg, false
	}
	return arg[:at+i], arg[at+i+1:], true
}

func (a *app) scp(ctx context.Context, f scpFlags, args []string) error {
	dest := args[len(args)-1]
	host, destPath, upload := remoteFile(dest)
	var paths []string
	for _, src := range args[:len(args)-1] {
		h, p, remote := remoteFile(src)
		if remote == upload || remote && host != "" && h != host {
			return fault.New(fault.Invalid, "one side is on one server and the other side is here").
				WithHint("write the server's side as [user@]host:path")
		}
		if remote {
			host = h
		}
		paths = append(paths, p)
	}
	c, s, err := a.connect()
	if err != nil {
		return err
	}
	t, err := a.target(s, host, "", f.port)
	if err != nil {
		return err
	}
	conn, err := a.dialSSH(ctx, c, t, 0)
	if err != nil {
		return err
	}
	defer conn.Close()
	files, err := conn.SFTP()
	if err != nil {
		return err
	}
	defer files.Close()
	// After an interruption the copy ends by itself and removes what is not
	// whole; a server that does not answer then is not waited for.
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(scpGrace, func() { conn.Close() }) })
	defer stop()
	a.pauses.serve(f.quiet, func(error) {})
	bar := a.progress(f.quiet)
	copier := filecopy.New(files, filecopy.Options{Recursive: f.recursive, Preserve: f.preserve, Progress: bar.report()})
	if upload {
		err = copier.Upload(ctx, paths, destPath)
	} else {
		err = copier.Download(ctx, paths, destPath)
	}
	bar.end()
	return a.scpResult(a.pauses.why(err))
}

// scpGrace is how long an interrupted copy may take to clean up.
const scpGrace = 3 * time.Second

// scpResult shows every file that failed. Those failures are the command's
// own, with exit code 1 as scp has it.
func (a *app) scpResult(err error) error {
	if err == nil || fault.KindOf(err) == fault.Canceled {
		return err
	}
	for _, e := range flatten(err) {
		output.Error(a.errs, e)
	}
	return exitCode(output.ExitFailed)
}

func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, flatten(e)...)
	}
	return list
}

// progressBar shows one line for each file on a terminal.
type progressBar struct {
	app   *app
	on    bool
	name  string
	begun time.Time
	shown time.Time
	done  int64
	total int64
}

func (a *app) progress(quiet bool) *progressBar {
	return &progressBar{app: a, on: !quiet && terminal.Is(a.errs)}
}

func (b *progressBar) report() func(string, int64, int64) {
	if !b.on {
		return nil
	}
	return b.update
}

// refresh is how often the line is drawn again.
const refresh = 200 * time.Millisecond

func (b *progressBar) update(name string, done, total int64) {
	now := time.Now()
	if name != b.name || done < b.done {
		b.end()
		b.name, b.begun, b.shown = name, now, time.Time{}
	}
	b.done, b.total = done, total
	if now.Sub(b.shown) >= refresh || done == total {
		b.shown = now
		b.draw(now)
	}
}

func (b *progressBar) draw(now time.Time) {
	percent := int64(100)
	if b.total > 0 {
		percent = min(100, b.done*100/b.total)
	}
	rate := float64(b.done) / max(now.Sub(b.begun).Seconds(), 0.001)
	name := output.Pad(clean(filepath.Base(b.name)), b.columns())
	fmt.Fprintf(b.app.errs, "\r\x1b[K%s %3d%% %10s %12s", name, percent, bytesText(float64(b.done)), bytesText(rate)+"/s")
}

// columns is the room for a name: what the numbers leave of the line, but for
// the last column, in which some terminals wrap.
func (b *progressBar) columns() int {
	const numbers = len(" 100% 1023.9 MiB 1023.9 MiB/s")
	return min(max(terminal.Width(b.app.errs)-numbers-1, 8), 40)
}

// end finishes the line of the last file.
func (b *progressBar) end() {
	if b.on && b.name != "" {
		b.draw(time.Now())
		fmt.Fprintln(b.app.errs)
		b.name = ""
	}
}

// bytesText writes a size in binary units.
func bytesText(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
