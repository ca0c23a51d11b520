package tshcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/ceremony"
	"teleport/client/identityfile"
	"teleport/client/profile"
	"teleport/fault"
	"teleport/wholefile"
)

const loginLong = `Log in to a cluster and keep its certificates in your profile.

You are asked for your password and for a code of your authenticator app. When
standard input is no terminal, each answer is read as one line.

With a log-in that is still valid, tsh login only makes that cluster the current
one; --force logs in anew. With --out the certificates go to a file instead of
the profile: --format=file makes one identity file for "tsh -i", and
--format=openssh a key and a certificate for "ssh -i".`

const loginExample = `  tsh login --proxy=proxy.example.com --user=alice
  tsh login --proxy=proxy.example.com --ttl=60
  printf '%s\n' "$PASSWORD" "$CODE" | tsh login --proxy=proxy.example.com --user=robot
  tsh login --proxy=proxy.example.com --out=alice.pem
  tsh login --proxy=proxy.example.com --out=id_alice --format=openssh`

type loginFlags struct {
	out       string
	format    string
	overwrite bool
	force     bool
}

func (a *app) loginCmd() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use: "login [cluster]", Short: "Log in to a cluster", Long: loginLong, Example: loginExample,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.global.cluster = args[0]
			}
			return a.login(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVarP(&f.out, "out", "o", "", "write the certificates to this `file` instead of the profile")
	cmd.Flags().StringVarP(&f.format, "format", "f", "file", "form of --out: file or openssh")
	cmd.Flags().BoolVar(&f.overwrite, "overwrite", false, "let --out replace a file")
	cmd.Flags().BoolVar(&f.force, "force", false, "log in even if the present log-in is still valid")
	return cmd
}

func (a *app) login(ctx context.Context, f loginFlags) error {
	if a.global.ttl < 0 {
		return fault.New(fault.Invalid, "--ttl is a number of minutes, at least 1")
	}
	if err := f.check(); err != nil {
		return err
	}
	dir, err := a.dir()
	if err != nil {
		return err
	}
	addr, err := a.proxyToLogIn(dir)
	if err != nil {
		return err
	}
	if f.out == "" && !f.force {
		if done, err := a.switchTo(dir, addr); done || err != nil {
			return err
		}
	}
	web, ping, err := client.FindProxy(ctx, addr, client.WebOptions{Insecure: a.global.insecure})
	if err != nil {
		return err
	}
	defer web.Close()
	if c := a.global.cluster; c != "" && c != ping.ClusterName {
		return fault.New(fault.NotFound, "cluster %q is not known to %s", c, web.Addr())
	}
	if err := client.CheckVersion(ping); err != nil {
		return err
	}
	cred, err := a.prove(ctx, web, ping, a.loginUser(dir, addr), f.out != "")
	if err != nil {
		return err
	}
	if f.out != "" {
		return a.writeOut(cred, f)
	}
	return a.keep(ctx, dir, web, ping, cred)
}

func (f loginFlags) check() error {
	if f.format != string(identityfile.FormatFile) && f.format != string(identityfile.FormatOpenSSH) {
		return fault.New(fault.Invalid, "--format=%s is not known", f.format).WithHint("formats: file, openssh")
	}
	if f.out == "" {
		return nil
	}
	info, err := os.Stat(filepath.Dir(f.out))
	if err != nil || !info.IsDir() {
		return fault.New(fault.Invalid, "the directory of --out=%s does not exist", f.out)
	}
	if f.overwrite {
		return nil
	}
	for _, name := range []string{f.out, f.out + "-cert.pub"} {
		if _, err := os.Lstat(name); err == nil {
			return fault.New(fault.AlreadyExists, "%s exists", name).WithHint("add --overwrite to replace it")
		}
	}
	return nil
}

// proxyToLogIn is the proxy that was named, else that of the current profile.
func (a *app) proxyToLogIn(dir *profile.Dir) (string, error) {
	if a.global.proxy == "" {
		p, err := dir.Current()
		if err != nil {
			return "", fault.New(fault.Invalid, "no proxy was named").WithHint("tsh login --proxy=HOST --user=NAME")
		}
		return p.WebProxyAddr, nil
	}
	// A bare host that is known already keeps the port that was found then.
	if p, err := dir.Load(a.global.proxy); err == nil && a.global.proxy == p.Name() {
		return p.WebProxyAddr, nil
	}
	return a.global.proxy, nil
}

func (a *app) loginUser(dir *profile.Dir, addr string) string {
	if a.global.user != "" {
		return a.global.user
	}
	if p, err := dir.Load(addr); err == nil {
		return p.User
	}
	return a.osUser()
}

// switchTo makes a log-in that is still valid the current one.
func (a *app) switchTo(dir *profile.Dir, addr string) (bool, error) {
	p, err := dir.Load(addr)
	if err != nil || (a.global.user != "" && a.global.user != p.User) || a.global.ttl != 0 ||
		(strings.Contains(addr, ":") && addr != p.WebProxyAddr) {
		return false, nil
	}
	cred, err := dir.Credential(p)
	if err != nil || cred.Check(time.Now()) != nil {
		return false, nil
	}
	if err := dir.SetCurrent(p); err != nil {
		return false, err
	}
	return true, a.writeStatus(textFormat, []statusEntry{entryOf(p, cred, true, time.Now())})
}

// prove asks for the proofs and gets the credential.
func (a *app) prove(ctx context.Context, web *client.Web, ping *client.Ping, user string, single bool) (*identityfile.Credential, error) {
	ask := ceremony.New(a.in, a.errs)
	if motd := strings.TrimSpace(ping.Auth.MessageOfTheDay); motd != "" {
		for line := range strings.SplitSeq(motd, "\n") {
			fmt.Fprintln(a.errs, clean(line))
		}
	}
	if user == "" {
		return nil, fault.New(fault.Invalid, "no user was named").WithHint("add --user=NAME")
	}
	k, err := client.NewKeys(ping.Auth.SignatureAlgorithmSuite, single)
	if err != nil {
		return nil, err
	}
	proof := client.Proof{User: user, TTL: time.Duration(a.global.ttl) * time.Minute}
	if proof.Password, err = ask.Password(ctx, "Password of "+user+" at "+clean(ping.ClusterName)); err != nil {
		return nil, err
	}
	if ping.Auth.SecondFactor != "off" {
		if proof.OTP, err = ask.OTP(ctx, "Code of your authenticator app"); err != nil {
			return nil, err
		}
	}
	cred, err := web.Login(ctx, proof, k)
	if err == nil && cred.Cluster() != ping.ClusterName {
		return nil, fault.New(fault.Untrusted, "%s calls itself cluster %q and certifies for %q", web.Addr(), ping.ClusterName, cred.Cluster())
	}
	return cred, err
}

// keep stores the log-in and shows it.
func (a *app) keep(ctx context.Context, dir *profile.Dir, web *client.Web, ping *client.Ping, cred *identityfile.Credential) error {
	upgrade, err := client.NeedsUpgrade(ctx, web.Addr())
	if err != nil {
		return err
	}
	p := &profile.Profile{WebProxyAddr: web.Addr(), User: cred.User(), Cluster: cred.Cluster(),
		AuthType: ping.Auth.Type, TLSRouting: true, UpgradeNeeded: upgrade, MySQLProxyAddr: ping.Proxy.MySQLAddr(web.Addr()),
		PublicAddr: ping.Proxy.BrowserAddr()}
	if err := dir.Save(p, cred); err != nil {
		return err
	}
	return a.writeStatus(textFormat, []statusEntry{entryOf(p, cred, true, time.Now())})
}

// writeOut writes the credential for other programs.
func (a *app) writeOut(cred *identityfile.Credential, f loginFlags) error {
	files, err := cred.Files(identityfile.Format(f.format), f.out)
	if err != nil {
		return err
	}
	for _, file := range files {
		mode := os.FileMode(0o644)
		if file.Private {
			mode = 0o600
		}
		if err := wholefile.Write(file.Name, file.Data, mode); err != nil {
			return fault.Unwritable(err, file.Name)
		}
		fmt.Fprintf(a.errs, "wrote %s\n", file.Name)
	}
	return nil
}

func (a *app) logoutCmd() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Forget keys and certificates",
		Long: `Delete the keys and certificates of one log-in, or of all.

With --proxy one log-in is forgotten, without it every one.`,
		Example: "  tsh logout\n  tsh logout --proxy=proxy.example.com",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.logout() },
	}
}

func (a *app) logout() error {
	dir, err := a.dir()
	if err != nil {
		return err
	}
	list, err := dir.List()
	if err != nil {
		return err
	}
	gone := 0
	for _, p := range list {
		if (a.global.proxy != "" && profile.HostOf(a.global.proxy) != p.Name()) || (a.global.user != "" && a.global.user != p.User) {
			continue
		}
		_, left := a.forgetDatabases(dir, p, "")
		_, leftApps := a.forgetApps(dir, p, "")
		if err := errors.Join(dir.Remove(p), left, leftApps); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the keys of %s cannot be deleted", p.Name())
		}
		gone++
		fmt.Fprintf(a.out, "Logged out of %s.\n", p.Name())
	}
	if gone > 0 {
		return nil
	}
	if a.global.proxy != "" {
		return fault.New(fault.NotFound, "you are not logged in to %s", a.global.proxy)
	}
	fmt.Fprintln(a.out, "You are not logged in.")
	return dir.Forget()
}
