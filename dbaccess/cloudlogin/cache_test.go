package cloudlogin_test

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"teleport/cert/certtest"
	"teleport/cloud/awscloud"
	"teleport/cloud/cloudtest"
	"teleport/dbaccess"
	"teleport/dbaccess/cloudlogin"
	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/redis"
	"teleport/dbaccess/redis/rediswire"
	"teleport/types"
)

// startCache is a Redis of ElastiCache as far as its login: TLS, and a token for a
// password. To PING it says whose that was.
func startCache(t *testing.T, aws *cloudtest.AWS) types.DatabaseSpec {
	t.Helper()
	s := httptest.NewUnstartedServer(nil) // for its certificate
	s.StartTLS()
	t.Cleanup(s.Close)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() { ln.Close(); work.Wait() })
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() { serveCache(c, aws) })
		}
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return types.DatabaseSpec{Protocol: "redis", URI: ln.Addr().String(), TLS: types.DatabaseTLS{CACert: string(ca)},
		AWS: &types.DatabaseAWS{Region: "eu-west-1", ElastiCache: &types.DatabaseAWSCache{ReplicationGroupID: "shop-cache"}}}
}

func serveCache(c net.Conn, aws *cloudtest.AWS) {
	defer c.Close()
	who := "nobody"
	for {
		_, words, err := rediswire.ReadCommand(c)
		if err != nil {
			return
		}
		answer := "+" + who + "\r\n"
		if string(words[0]) == "AUTH" {
			p, err := aws.VerifyCacheLogin("elasticache", string(words[2]), "shop-cache", string(words[1]), "eu-west-1")
			if who, answer = p.ARN, "+OK\r\n"; err != nil {
				answer = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
			}
		}
		if _, err := c.Write([]byte(answer)); err != nil {
			return
		}
	}
}

// TestRedisOfElastiCacheTakesTheToken goes the whole way of a native client.
func TestRedisOfElastiCacheTakesTheToken(t *testing.T) {
	aws := cloudtest.NewAWS(t)
	aws.Use(t)
	spec := startCache(t, aws)
	creds := func(*certtest.World) dbaccess.Credentials { return byToken{&cloudlogin.Clouds{AWS: &awscloud.Cloud{}}} }
	ping := func(spec types.DatabaseSpec) string {
		w := dbtest.New(t, redis.Engine{}, spec, creds)
		w.Role(func(*types.RoleSpec) {})
		c, err := net.Dial("tcp", w.Listen("alice", types.DatabaseRoute{User: "alice"}).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(rediswire.Append(nil, "PING")); err != nil {
			t.Fatal(err)
		}
		said, err := rediswire.ReadAnswer(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(said)
	}
	if said := ping(spec); said != "+"+cloudtest.AgentARN+"\r\n" {
		t.Errorf("%q", said)
	}
	other := spec
	other.AWS = &types.DatabaseAWS{Region: "eu-west-1", ElastiCache: &types.DatabaseAWSCache{ReplicationGroupID: "other-cache"}}
	if said := ping(other); !strings.HasPrefix(said, "-NOPERM the database says: WRONGPASS") {
		t.Errorf("a token for another cache: %q", said)
	}
	other = spec
	other.TLS = types.DatabaseTLS{Mode: types.TLSInsecure}
	if said := ping(other); !strings.Contains(said, "whoever answers") {
		t.Errorf("a token goes to whoever answers: %q", said)
	}
}
