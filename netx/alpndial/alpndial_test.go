package alpndial

import (
	"net"
	"strings"
	"testing"

	"teleport/fault"
)

// TestAProxyThatIsKilled: who dials while a proxy dies hears that there was no
// connection, whatever moment it was.
func TestAProxyThatIsKilled(t *testing.T) {
	for name, kill := range map[string]func(*net.TCPConn) error{
		"before it reads": func(c *net.TCPConn) error { return c.SetLinger(0) },
		"after the hello": func(c *net.TCPConn) error { _, err := c.Read(make([]byte, 16<<10)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					if err := kill(c.(*net.TCPConn)); err != nil {
						t.Error(err)
					}
					c.Close()
				}
			}()
			_, err = (&Dialer{ProxyAddr: ln.Addr().String(), Insecure: true}).Dial(t.Context(), "teleport-dial", nil)
			if fault.KindOf(err) != fault.Unavailable || !strings.HasPrefix(err.Error(), "cannot connect to "+ln.Addr().String()+": ") {
				t.Errorf("%v", err)
			}
		})
	}
}
