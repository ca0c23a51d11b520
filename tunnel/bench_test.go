package tunnel

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/netx"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// simulation is what the second process of BenchmarkIdleTunnel needs.
type simulation struct {
	Tunnel, Data string
	SSH, Key, CA []byte
	Agents       int
}

// simulationEnv makes the test binary a process full of agents.
const simulationEnv = "TUNNEL_TEST_SIMULATION"

func TestMain(m *testing.M) {
	if s := os.Getenv(simulationEnv); s != "" {
		if err := simulate(s); err != nil {
			fmt.Println("simulation:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// simulate holds tunnels until its standard input ends. It prints a line when
// all stand.
func simulate(config string) error {
	var s simulation
	if err := json.Unmarshal([]byte(config), &s); err != nil {
		return err
	}
	key, err := x509.ParsePKCS8PrivateKey(s.Key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(s.CA)
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey(s.SSH)
	if err != nil {
		return err
	}
	t := new(testing.B)
	w := &world{t: t, net: new(netx.System), ca: &authority{signer: signer, key: key.(*ecdsa.PrivateKey), cert: cert}}
	p := &proxy{tunnelAddr: s.Tunnel, dataAddr: s.Data}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range s.Agents {
		slots <- struct{}{}
		o := w.options("agent-"+strconv.Itoa(i), types.RoleNode, to(p))
		pool, err := NewPool(o)
		if err != nil {
			return err
		}
		wg.Go(func() { pool.Serve(ctx) })
		wg.Go(func() {
			defer func() { <-slots }()
			c, err := pool.DialAuth(ctx)
			if err == nil {
				io.WriteString(c, "hello")
			}
		})
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
	fmt.Println("up")
	io.Copy(io.Discard, os.Stdin)
	cancel()
	return nil
}

// BenchmarkIdleTunnel reports what one idle agent costs the proxy: its tunnel
// and its channel to auth, in bytes of memory. The agents are real ones in
// another process. Each operation is one agent; use -benchtime 1000x.
func BenchmarkIdleTunnel(b *testing.B) {
	if b.N < 100 {
		return
	}
	w := newWorld(b, new(netx.System))
	sink, err := net.Listen("tcp", "127.0.0.1:0")
	check(b, err)
	defer sink.Close()
	go hold(sink)
	p := w.proxy("p1", RegistryOptions{Handshakes: 1024, Auth: func(ctx context.Context, _ *types.Identity, c net.Conn) error {
		up, err := net.Dial("tcp", sink.Addr().String())
		if err != nil {
			return err
		}
		return netx.Splice(ctx, c, up, netx.SpliceOptions{})
	}})
	before := memory()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), simulationEnv+"="+w.simulation(b, p, b.N))
	stdin, err := cmd.StdinPipe()
	check(b, err)
	stdout, err := cmd.StdoutPipe()
	check(b, err)
	begun := time.Now()
	check(b, cmd.Start())
	defer cmd.Wait()
	defer stdin.Close()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	check(b, err)
	if line != "up\n" || len(p.Agents()) != b.N {
		b.Fatalf("%q, %d agents", line, len(p.Agents()))
	}
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "handshakes/s")
	after := memory()
	n := float64(b.N)
	b.ReportMetric(float64(after.heap-before.heap)/n/1024, "heap-KiB/agent")
	b.ReportMetric(float64(after.stack-before.stack)/n/1024, "stack-KiB/agent")
	b.ReportMetric(float64(after.resident-before.resident)/n/1024, "rss-KiB/agent")
	b.ReportMetric(float64(after.goroutines-before.goroutines)/n, "goroutines/agent")
	if out := os.Getenv("TUNNEL_HEAP"); out != "" {
		writeHeap(b, out)
	}
}

func (w *world) simulation(b *testing.B, p *proxy, n int) string {
	key, err := x509.MarshalPKCS8PrivateKey(w.ca.key)
	check(b, err)
	block, err := ssh.MarshalPrivateKey(w.ca.private, "")
	check(b, err)
	s, err := json.Marshal(simulation{Tunnel: p.tunnelAddr, Data: p.dataAddr, SSH: pemEncode(block), Key: key, CA: w.ca.cert.Raw, Agents: n})
	check(b, err)
	return string(s)
}

// hold accepts connections and keeps them.
func hold(ln net.Listener) {
	var kept []net.Conn
	for {
		c, err := ln.Accept()
		if err != nil {
			for _, k := range kept {
				k.Close()
			}
			return
		}
		kept = append(kept, c)
	}
}

type usage struct {
	heap, stack, resident int64
	goroutines            int
}

func memory() usage {
	for range 3 {
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := usage{heap: int64(m.HeapInuse), stack: int64(m.StackInuse), goroutines: runtime.NumGoroutine()}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			u.resident = kb * 1024
		}
	}
	return u
}

// BenchmarkBulk measures the stream from a client through the proxy to an agent
// in one process: TLS from the client, spliced into the carrier. The agent
// discards what it reads.
func BenchmarkBulk(b *testing.B) {
	for _, c := range []tunframe.Carrier{tunframe.CarrierData, tunframe.CarrierChannel} {
		b.Run(string(c), func(b *testing.B) {
			w := newWorld(b, new(netx.System))
			p := w.proxy("p1", RegistryOptions{})
			o := w.options("a1", types.RoleNode, to(p))
			done := make(chan int64, 1)
			o.Handle = func(_ context.Context, in Incoming) {
				tunframe.Write(in.Conn, &tunframe.Reply{V: tunframe.Version})
				n, _ := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in.Conn})
				done <- n
			}
			w.agent(o)
			conn, _ := w.dial(p, "a1", c)
			client, gate := w.gate(b)
			go netx.Splice(context.Background(), gate, conn, netx.SpliceOptions{})
			block := make([]byte, 256<<10)
			b.SetBytes(int64(len(block)))
			b.ResetTimer()
			for range b.N {
				if _, err := client.Write(block); err != nil {
					b.Fatal(err)
				}
			}
			client.(netx.CloseWriter).CloseWrite()
			if n := <-done; n != int64(b.N)*int64(len(block)) {
				b.Fatalf("%d bytes arrived", n)
			}
			client.Close()
		})
	}
}

// gate returns both ends of a TLS connection over loopback.
func (w *world) gate(b *testing.B) (client, server net.Conn) {
	h := w.ca.host(b, "p1", types.RoleProxy)
	ln := w.listen("", h.server("dial"))
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			err = c.(interface{ Handshake() error }).Handshake()
		}
		if err == nil {
			accepted <- c
		}
		close(accepted)
	}()
	client, err := dialTLS(ln.Addr().String(), h.client("dial"))
	check(b, err)
	return client, <-accepted
}

// BenchmarkDial measures the time of a dial with its reply.
func BenchmarkDial(b *testing.B) {
	for _, c := range []tunframe.Carrier{tunframe.CarrierData, tunframe.CarrierChannel} {
		b.Run(string(c), func(b *testing.B) {
			w := newWorld(b, new(netx.System))
			p := w.proxy("p1", RegistryOptions{Warm: 4})
			w.agent(w.options("a1", types.RoleNode, to(p)))
			for b.Loop() {
				conn, _ := w.dial(p, "a1", c)
				conn.Close()
			}
		})
	}
}
