package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"teleport/api/authclient"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/join/tokenjoin"
	"teleport/keys"
	"teleport/member"
	"teleport/netx/alpndial"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// simulateArg makes this program a process full of agents.
const simulateArg = "simulate-agents"

// simulation is what that process needs to know.
type simulation struct {
	Dir, Proxy, Auth, Pin string
	Token                 types.Secret
	Agents                int
}

// measureTunnels holds many idle agents in another process: each joined the
// cluster, holds a tunnel with the real client, and an API connection to the auth
// service inside it.
func (b *bench) measureTunnels(ctx context.Context) error {
	token, err := b.cl.token("node", "10m")
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{"Dir": filepath.Join(b.dir, "agents"), "Proxy": b.cl.proxy, "Auth": b.cl.auth,
		"Pin": b.cl.pin, "Token": token, "Agents": b.agents})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, simulateArg)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait() //nolint:errcheck // it has said what there was to say
	defer in.Close()
	words := bufio.NewReader(out)
	say := func(what string) error {
		if _, err := fmt.Fprintf(in, "%s\n", what); err != nil {
			return err
		}
		line, err := words.ReadString('\n')
		if err == nil && line != "done\n" {
			err = fmt.Errorf("the simulation says %q", strings.TrimSpace(line))
		}
		return err
	}
	return b.growth(ctx, func() error { return say(string(config)) }, func() error { return say("up") })
}

// growth compares the processes before and after the tunnels stand.
func (b *bench) growth(ctx context.Context, prepare, up func() error) error {
	begun := time.Now()
	if err := prepare(); err != nil {
		return err
	}
	joined := time.Since(begun)
	names := []string{"proxy", "auth"}
	before, after := map[string]memory{}, map[string]memory{}
	look := func(into map[string]memory) (err error) {
		for _, name := range names {
			if into[name], err = b.cl.memory(ctx, name); err != nil {
				return err
			}
		}
		return nil
	}
	if err := look(before); err != nil {
		return err
	}
	busy, err := cpu(b.cl.servers["proxy"].pid())
	if err != nil {
		return err
	}
	begun = time.Now()
	if err := up(); err != nil {
		return err
	}
	stood := time.Since(begun)
	busier, err := cpu(b.cl.servers["proxy"].pid())
	if err != nil {
		return err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.cl.servers["proxy"].pid()))
	if err != nil {
		return err
	}
	if err := rest(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := look(after); err != nil {
		return err
	}
	b.heap(ctx, "tunnels", names...)
	s := b.table.section(fmt.Sprintf("Memory of an idle agent (%d agents in another process, each with its tunnel and its traffic to auth)", b.agents),
		"process", "resident KiB", "heap and stacks in use KiB", "to reach KiB")
	n := float64(b.agents) * 1024
	for _, name := range names {
		goal := map[string]string{"proxy": "≤ 80"}[name]
		s.row(name, fmt.Sprintf("%.0f", float64(after[name].resident-before[name].resident)/n),
			fmt.Sprintf("%.0f", float64(after[name].live-before[name].live)/n), goal)
	}
	s.note("%.0f joins/s (keys, certificate, audit), %.0f tunnels/s with both handshakes and that of auth inside; %.1f ms CPU of the proxy for each; %d descriptors in all at the proxy.",
		float64(b.agents)/joined.Seconds(), float64(b.agents)/stood.Seconds(), millis(busier.minus(busy).own)/float64(b.agents), len(files))
	return nil
}

// simulate joins as many agents as the first line says, then holds their tunnels
// once a second line comes, until its input ends.
func simulate(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := bufio.NewReader(in)
	line, err := lines.ReadString('\n')
	if err != nil {
		return err
	}
	var s simulation
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		return err
	}
	agents := make([]*agent, s.Agents)
	if err := inParallel(len(agents), 8, func(i int) (err error) {
		agents[i], err = s.join(ctx, i)
		return err
	}); err != nil {
		return err
	}
	fmt.Fprintln(out, "done")
	if _, err := lines.ReadString('\n'); err != nil {
		return err
	}
	var serving errgroup.Group
	if err := inParallel(len(agents), 32, func(i int) error { return agents[i].stand(ctx, &serving, s) }); err != nil {
		return err
	}
	fmt.Fprintln(out, "done")
	_, err = io.Copy(io.Discard, lines)
	for _, a := range agents {
		a.api.Close()
	}
	cancel()
	return err
}

func inParallel(n, width int, do func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(width)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}

// agent is a simulated one: a membership, a tunnel pool, an API connection.
type agent struct {
	m   *member.Member
	api *authclient.Client
}

func (s simulation) join(ctx context.Context, i int) (*agent, error) {
	m, err := member.New(member.Config{DataDir: filepath.Join(s.Dir, strconv.Itoa(i)), Hostname: "idle-" + strconv.Itoa(i),
		SystemRoles: []types.SystemRole{types.RoleInstance, types.RoleNode}, Suite: keys.DefaultSuite, Pins: []string{s.Pin}})
	if err != nil {
		return nil, err
	}
	src := m.Source()
	src.Certificate = func() *tls.Certificate { return nil }
	config, err := tlscert.PinnedConfig(src, []string{s.Pin}, types.RoleAuth, "h2")
	if err != nil {
		return nil, err
	}
	c, err := authclient.New(authclient.Config{TLS: config, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Auth)
	}})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return &agent{m: m}, m.Join(ctx, c, tokenjoin.Method{}, s.Token)
}

// stand brings the tunnel up and makes a call to auth through it, whose
// connection stays.
func (a *agent) stand(ctx context.Context, serving *errgroup.Group, s simulation) error {
	id := a.m.Identity()
	toProxy, err := tlscert.ClientConfig(a.m.Source(), tlscert.Server{Cluster: id.Cluster, Role: types.RoleProxy})
	if err != nil {
		return err
	}
	toAuth, err := tlscert.ClientConfig(a.m.Source(), tlscert.Server{Cluster: id.Cluster, Role: types.RoleAuth}, "h2")
	if err != nil {
		return err
	}
	pool, err := tunnel.NewPool(tunnel.PoolOptions{UUID: id.Name, Cluster: id.Cluster, Credentials: a.credentials(),
		Dial: func(ctx context.Context, t tunnel.Target) (net.Conn, error) {
			return (&alpndial.Dialer{ProxyAddr: s.Proxy}).Dial(ctx, t.ALPN, toProxy)
		},
		Handle: func(_ context.Context, in tunnel.Incoming) { in.Close() },
		Hello:  tunframe.Hello{Generation: 1, Services: []string{"ssh"}, Release: types.Release}})
	if err != nil {
		return err
	}
	serving.Go(func() error { return pool.Serve(ctx) })
	select {
	case <-pool.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.api, err = authclient.New(authclient.Config{Dial: pool.DialAuth, TLS: toAuth}); err != nil {
		return err
	}
	_, err = a.api.Ping(ctx)
	return err
}

func (a *agent) credentials() tunnel.Credentials {
	return tunnel.Credentials{
		Signer: func() (ssh.Signer, error) { return a.m.SSHSigner(), nil },
		Verify: func(c *ssh.Certificate) (*types.Identity, error) {
			return sshcert.Verify(c, a.m.Trust(), types.IdentityHost, time.Now())
		},
		Peer: func(cs tls.ConnectionState) (*types.Identity, error) {
			return tlscert.Peer(cs, a.m.Trust(), time.Now(), types.IdentityHost)
		},
	}
}
