package tunnel

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"os"
	"runtime/pprof"
	"testing"
)

func pemEncode(b *pem.Block) []byte { return pem.EncodeToMemory(b) }

func dialTLS(addr string, config *tls.Config) (net.Conn, error) {
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// writeHeap keeps a heap profile for whoever wants to know where bytes go.
func writeHeap(b *testing.B, path string) {
	f, err := os.Create(path)
	check(b, err)
	defer f.Close()
	check(b, pprof.Lookup("heap").WriteTo(f, 0))
}
