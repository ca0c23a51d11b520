package config

import (
	"net"
	"net/netip"
	"regexp"

	"teleport/fault"
)

func proxyPart(c *Config, f *File, fl Flags) error {
	if c.Proxy == nil {
		return nil
	}
	p, in := c.Proxy, f.Proxy
	p.WebListenAddr = first(in.WebListenAddr, withIP(fl.ListenIP, PortWeb))
	if err := checkAddr("proxy_service.web_listen_addr", p.WebListenAddr); err != nil {
		return err
	}
	p.PublicAddrs = withPort(in.PublicAddr, p.WebListenAddr)
	p.Keypairs = in.HTTPSKeypairs
	for _, k := range p.Keypairs {
		if k.KeyFile == "" || k.CertFile == "" {
			return fault.New(fault.Invalid, "each of proxy_service.https_keypairs needs key_file and cert_file")
		}
	}
	p.ReloadInterval = in.ReloadInterval.Std()
	p.TrustForwardedFor = in.TrustForwardedFor.Or(false)
	switch in.ProxyProtocol {
	case "":
		p.ProxyProtocol = "off" // a header that nobody asked for is a client's own claim
	case "on", "off":
		p.ProxyProtocol = in.ProxyProtocol
	default:
		return fault.New(fault.Invalid, "proxy_service.proxy_protocol %q is neither on nor off", in.ProxyProtocol)
	}
	if err := mysqlPort(p, in); err != nil {
		return err
	}
	return balancers(p, in.TrustedBalancers)
}

// withPort gives addresses without a port that of a listener.
func withPort(addrs []string, listener string) (list []string) {
	_, port, _ := net.SplitHostPort(listener)
	for _, a := range addrs {
		if _, _, err := net.SplitHostPort(a); err != nil {
			a = net.JoinHostPort(a, port)
		}
		list = append(list, a)
	}
	return list
}

// version is what clients of MySQL are told of a server.
var version = regexp.MustCompile(`^[0-9]+\.[!-~]{1,60}$`)

// mysqlPort reads what there is for clients of MySQL.
func mysqlPort(p *Proxy, in ProxyService) error {
	if in.MySQLVersion != "" && !version.MatchString(in.MySQLVersion) {
		return fault.New(fault.Invalid, "proxy_service.mysql_server_version %q is no version such as 8.0.36", in.MySQLVersion)
	}
	p.MySQLVersion, p.MySQLListenAddr = in.MySQLVersion, in.MySQLListenAddr
	if p.MySQLListenAddr == "" {
		if len(in.MySQLPublicAddr) > 0 {
			return fault.New(fault.Invalid, "proxy_service.mysql_public_addr needs mysql_listen_addr")
		}
		return nil
	}
	if err := checkAddr("proxy_service.mysql_listen_addr", p.MySQLListenAddr); err != nil {
		return err
	}
	p.MySQLPublicAddrs = withPort(in.MySQLPublicAddr, p.MySQLListenAddr)
	return nil
}

// balancers reads who may say where a client comes from. A switch that believes
// headers needs them: without, every client could choose its address.
func balancers(p *Proxy, list []string) error {
	const key = "proxy_service.trusted_balancers"
	for _, s := range list {
		n, err := netip.ParsePrefix(s)
		if a, addrErr := netip.ParseAddr(s); addrErr == nil {
			n, err = a.Unmap().WithZone("").Prefix(a.Unmap().BitLen())
		}
		if err != nil {
			return fault.New(fault.Invalid, "%s: %q is neither an address nor a network such as 10.0.0.0/8", key, s)
		}
		p.TrustedBalancers = append(p.TrustedBalancers, n.Masked())
	}
	if len(list) > 0 || p.ProxyProtocol != "on" && !p.TrustForwardedFor {
		return nil
	}
	asked := "trust_x_forwarded_for: yes"
	if p.ProxyProtocol == "on" {
		asked = "proxy_protocol: on"
	}
	return fault.New(fault.Invalid, "proxy_service has %s and no trusted_balancers: every client could choose its address", asked).
		WithHint("list there the addresses or networks from which the balancer connects")
}
