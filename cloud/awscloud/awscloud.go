// Package awscloud is how an agent proves itself to AWS: by the credentials of
// its instance, environment or files, or those of a role that it takes with them.
// It signs requests, and logins to databases of RDS. Which host is signed for is
// its caller's to compute; a client never says it.
package awscloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"teleport/cloud/cloudcall"
	"teleport/cloud/renewal"
	"teleport/fault"
	"teleport/types"
)

const (
	// roleLife is how long the credentials of a role live: every role allows an
	// hour, and one that is taken by another allows no more.
	roleLife = time.Hour
	// loginLife is how long a signed login to a database is taken.
	loginLife = 15 * time.Minute
	attempts  = 3
)

// Role is a role to take.
type Role struct {
	ARN         string
	ExternalID  string // "" where the role wants none
	SessionName string // SessionName makes it
	Tags        map[string]string
}

// Cloud gets credentials and signs with them. The zero value takes those of the
// process. Safe for concurrent use.
type Cloud struct {
	mu    sync.Mutex
	own   *aws.Config
	way   *http.Transport // of the same
	taken renewal.Cache[string, aws.Credentials]
}

// config reads the environment and the files of the process, once. It calls
// nobody.
func (c *Cloud) config(ctx context.Context) (aws.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own != nil {
		return *c.own, nil
	}
	client := awshttp.NewBuildableClient()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithRetryMaxAttempts(attempts))
	if err != nil {
		return aws.Config{}, fault.Wrap(err, fault.Invalid, "the AWS configuration of this agent cannot be read")
	}
	if with, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		client = with // with the authorities that the environment names
	}
	c.way = client.GetTransport()
	cfg.HTTPClient, cfg.Logger = cloudcall.Public(c.way), logging.Nop{}
	c.own = &cfg
	return cfg, nil
}

// Credentials returns those of the last role of a chain, each of which is taken
// with the credentials of the one before; without any, the agent's own. region is
// where STS is asked.
func (c *Cloud) Credentials(ctx context.Context, region string, chain ...Role) (aws.Credentials, error) {
	cfg, err := c.config(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	if len(chain) == 0 {
		if cfg.Credentials == nil {
			return aws.Credentials{}, noCredentials(nil)
		}
		creds, err := cfg.Credentials.Retrieve(ctx)
		if err != nil {
			return aws.Credentials{}, noCredentials(err)
		}
		return creds, nil
	}
	last := chain[len(chain)-1]
	if err := samePartition(region, last); err != nil {
		return aws.Credentials{}, err
	}
	return c.taken.Get(ctx, key(region, chain), func(ctx context.Context) (aws.Credentials, time.Time, error) {
		with, err := c.Credentials(ctx, region, chain[:len(chain)-1]...)
		if err != nil {
			return aws.Credentials{}, time.Time{}, err
		}
		creds, err := assume(ctx, cfg, region, with, last, roleLife)
		return creds, creds.Expires, err
	})
}

func noCredentials(err error) error {
	if err == nil {
		err = errors.New("no provider")
	}
	return fault.Advise(fault.Wrap(err, fault.Unavailable, "this agent has no AWS credentials"), "give its machine an instance profile or a web identity, or set AWS_PROFILE of its process")
}

// key tells apart what is taken differently. Its parts cannot run together.
func key(region string, chain []Role) string {
	parts := []string{region}
	for _, r := range chain {
		parts = append(parts, r.ARN, r.ExternalID, r.SessionName, strconv.Itoa(len(r.Tags)))
		for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
			parts = append(parts, k, r.Tags[k])
		}
	}
	for i, p := range parts {
		parts[i] = strconv.Quote(p)
	}
	return strings.Join(parts, "")
}

// samePartition refuses to carry a person from one part of AWS to another.
func samePartition(region string, r Role) error {
	parts := strings.SplitN(r.ARN, ":", 3)
	if len(parts) != 3 || parts[1] != types.AWSPartition(region) {
		return fault.New(fault.Denied, "the role %s is not of the partition that the region %s belongs to", r.ARN, region)
	}
	return nil
}

// assume takes a role.
func assume(ctx context.Context, cfg aws.Config, region string, with aws.Credentials, r Role, life time.Duration) (aws.Credentials, error) {
	cfg.Region, cfg.Credentials = region, credentials.StaticCredentialsProvider{Value: with}
	in := &sts.AssumeRoleInput{RoleArn: &r.ARN, RoleSessionName: &r.SessionName, DurationSeconds: aws.Int32(int32(life / time.Second))}
	if r.ExternalID != "" {
		in.ExternalId = &r.ExternalID
	}
	for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
		in.Tags = append(in.Tags, ststypes.Tag{Key: aws.String(k), Value: aws.String(r.Tags[k])})
	}
	out, err := sts.NewFromConfig(cfg).AssumeRole(ctx, in)
	if err != nil {
		return aws.Credentials{}, stsFault(err, r.ARN)
	}
	if out.Credentials == nil || out.Credentials.Expiration == nil {
		return aws.Credentials{}, fault.New(fault.Unavailable, "AWS gave no credentials of the role %s", r.ARN)
	}
	t := out.Credentials
	return aws.Credentials{AccessKeyID: aws.ToString(t.AccessKeyId), SecretAccessKey: aws.ToString(t.SecretAccessKey),
		SessionToken: aws.ToString(t.SessionToken), CanExpire: true, Expires: *t.Expiration}, nil
}

// stsFault says who must change what.
func stsFault(err error, arn string) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return fault.Advise(fault.Wrap(err, fault.Denied, "AWS does not let this agent take the role %s (%s)", arn, api.ErrorCode()),
			"the role must trust the agent's own role, and that must be allowed sts:AssumeRole of it")
	}
	return fault.Wrap(err, fault.Unavailable, "AWS does not answer for the role %s", arn)
}

// Sign signs a request for a service in a region. sum is the SHA-256 of its body.
// Every header that is set is covered.
func (c *Cloud) Sign(ctx context.Context, r *http.Request, sum [sha256.Size]byte, service, region string, chain ...Role) error {
	return c.SignPayload(ctx, r, hex.EncodeToString(sum[:]), service, region, chain...)
}

// SignPayload is Sign for a request whose body is said by payload: a hash in hex, or
// what S3 takes in its place. The path of a request to S3 must be in the form that
// its signatures take.
func (c *Cloud) SignPayload(ctx context.Context, r *http.Request, payload, service, region string, chain ...Role) error {
	creds, err := c.Credentials(ctx, region, chain...)
	if err != nil {
		return err
	}
	err = v4.NewSigner().SignHTTP(ctx, creds, r, payload, service, region, time.Now(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	return fault.Wrap(err, fault.Internal, "the request cannot be signed")
}

// Transport makes connections to the services of AWS, with the authorities and the
// proxy that the agent's environment names.
func (c *Cloud) Transport(ctx context.Context) (*http.Transport, error) {
	if _, err := c.config(ctx); err != nil {
		return nil, err
	}
	return c.way.Clone(), nil
}

// Services that a login is signed for.
const (
	ServiceRDS         = "rds-db"
	ServiceElastiCache = "elasticache"
	ServiceMemoryDB    = "memorydb"
)

// DatabaseLogin is a login to a database of AWS.
type DatabaseLogin struct {
	Service string // one of the above
	Address string // host:port, as RDS names it; the name of a cache or a cluster of the others
	User    string
	Region  string
	Until   time.Time // no longer than this, the end of whoever logs in
}

// SignDatabaseLogin returns what the database takes for a password: a signed URL
// without its scheme. Nobody is called for it once the credentials are there.
func (c *Cloud) SignDatabaseLogin(ctx context.Context, l DatabaseLogin, chain ...Role) (string, error) {
	creds, err := c.Credentials(ctx, l.Region, chain...)
	if err != nil {
		return "", err
	}
	life := loginLife
	if left := time.Until(l.Until); !l.Until.IsZero() && left < life {
		life = left
	}
	if life < time.Second {
		return "", fault.New(fault.Denied, "the certificate of who logs in has expired")
	}
	user := "User"
	if l.Service == ServiceRDS {
		user = "DBUser"
	}
	query := url.Values{"Action": {"connect"}, user: {l.User}, "X-Amz-Expires": {strconv.Itoa(int(life / time.Second))}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+l.Address+"/?"+query.Encode(), http.NoBody)
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "%q is no address of a database", l.Address)
	}
	empty := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, creds, r, hex.EncodeToString(empty[:]), l.Service, l.Region, time.Now())
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "the login cannot be signed")
	}
	return strings.TrimPrefix(signed, "https://"), nil
}

// Wait returns when nothing is being renewed.
func (c *Cloud) Wait() { c.taken.Wait() }

// SessionName is the name of a person as AWS takes it for a session of a role:
// what it does not take becomes "-", and the end of a hash then keeps apart those
// who would be called the same.
func SessionName(user string) string {
	const least, most, tail = 2, 64, 6
	name := strings.Map(func(c rune) rune {
		if c < 0x80 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_+=,.@-", c)) {
			return c
		}
		return '-'
	}, user)
	if name == user && len(name) >= least && len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(user))
	return name[:min(len(name), most-tail-1)] + "-" + hex.EncodeToString(sum[:])[:tail]
}
