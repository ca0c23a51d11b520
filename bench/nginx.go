package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// nginxConfig is one nginx: with its own directory, and what it serves.
const nginxConfig = `daemon off;
user root;
worker_processes auto;
pid %[1]s/pid;
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  %[2]s
}
`

// nginx starts one that listens on a port of its own.
func nginx(ctx context.Context, dir, name, http string) (*server, error) {
	own := filepath.Join(dir, "nginx-"+name)
	if err := os.Mkdir(own, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(own, "nginx.conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, nginxConfig, own, http), 0o600); err != nil {
		return nil, err
	}
	s, err := serve(dir, "nginx-"+name, nil, "/usr/sbin/nginx", "-c", path, "-p", own)
	if err == nil {
		s.workers = true
	}
	return s, err
}

// startOrigin starts the app: files of two sizes, which are made here.
func startOrigin(ctx context.Context, dir string) (addr string, s *server, err error) {
	www := filepath.Join(dir, "www")
	if err := os.Mkdir(www, 0o755); err != nil {
		return "", nil, err
	}
	for _, body := range appBodies {
		if err := os.WriteFile(filepath.Join(www, body.name), make([]byte, body.size), 0o644); err != nil { //nolint:gosec // for everybody: it is served
			return "", nil, err
		}
	}
	if addr, err = freePort(); err != nil {
		return "", nil, err
	}
	s, err = nginx(ctx, dir, "origin", fmt.Sprintf("sendfile on;\n  server { listen %s; root %s; }", addr, www))
	if err != nil {
		return "", nil, err
	}
	return addr, s, s.await(ctx, 10*time.Second, func() bool { return answers(addr) })
}

// startNginx starts two nginx as reverse proxies: TLS from the client to the first,
// and mutual TLS from that to the second. It returns the address of the first.
func startNginx(ctx context.Context, dir, pair, origin string) (string, []*server, error) {
	const common = "proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n  proxy_set_header Host $http_host;\n  "
	listen := func(addr string) string {
		return fmt.Sprintf("listen %s ssl; ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.3;", addr, pair, pair)
	}
	upstream := func(addr string) string { return fmt.Sprintf("upstream next { server %s; keepalive 64; }\n  ", addr) }
	return chain(ctx, origin, []string{"leave", "enter"}, func(verb, addr, next string) (*server, error) {
		if verb == "leave" {
			return nginx(ctx, dir, verb, common+upstream(next)+fmt.Sprintf("server { %s ssl_client_certificate %s; ssl_verify_client on; location / { proxy_pass http://next; } }",
				listen(addr), pair))
		}
		return nginx(ctx, dir, verb, common+upstream(next)+fmt.Sprintf("server { %s location / { proxy_pass https://next; proxy_ssl_protocols TLSv1.3; proxy_ssl_certificate %s; "+
			"proxy_ssl_certificate_key %s; proxy_ssl_trusted_certificate %s; proxy_ssl_verify on; proxy_ssl_name null; proxy_ssl_server_name on; } }", listen(addr), pair, pair, pair))
	})
}

// portOf is the port of an address.
func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}
