// Package s3blob keeps objects in an S3-compatible storage, for clusters whose
// recordings outgrow a disk. Credentials and, where the location names none, the
// region come from the environment, the files or the instance of the process, as
// for every tool of that cloud.
package s3blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"teleport/blob"
	"teleport/fault"
)

const (
	// PartSize is the size of the parts that larger objects are sent in.
	PartSize = 8 << 20
	// callTimeout bounds one request, partTimeout one that carries a part.
	callTimeout = 30 * time.Second
	partTimeout = 5 * time.Minute
	// attempts of one request; what fails for longer is for the caller to try later.
	attempts = 3
	// defaultRegion stands where a storage of one's own wants some region.
	defaultRegion = "us-east-1"
)

// Bucket is a Store in one bucket, under one prefix. Safe for concurrent use.
type Bucket struct {
	client *s3.Client
	name   string
	prefix string // "" or with a slash at its end
}

var _ blob.Store = (*Bucket)(nil)

// Open makes the client. It reads the environment and calls nobody.
func Open(ctx context.Context, l blob.Location) (*Bucket, error) {
	if l.Scheme != "s3" {
		return nil, fault.New(fault.Internal, "%s is no location of this storage", l.Scheme)
	}
	own := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = callTimeout })
	options := []func(*config.LoadOptions) error{config.WithHTTPClient(own), config.WithRetryMaxAttempts(attempts)}
	if l.Region != "" {
		options = append(options, config.WithRegion(l.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the configuration of the recording storage cannot be read: %v", err)
	}
	if cfg.Region == "" {
		if l.Endpoint == "" {
			return nil, fault.New(fault.Invalid, "the recording storage needs a region").WithHint("add ?region=… to audit_sessions_uri, or set AWS_REGION")
		}
		cfg.Region = defaultRegion
	}
	if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		own = c // with the authorities that the environment names
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		// A bucket that sends elsewhere is misconfigured; its answer is an error.
		o.HTTPClient = &http.Client{Transport: own.GetTransport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		// What is sent carries a checksum. What is read proves itself, and some storages
		// send the whole object's checksum with a part of it.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.Logger = logging.Nop{}
		o.UsePathStyle = l.PathStyle
		o.EndpointOptions.DisableHTTPS = l.Insecure
		if l.Endpoint != "" {
			scheme := "https"
			if l.Insecure {
				scheme = "http"
			}
			o.BaseEndpoint = aws.String(scheme + "://" + l.Endpoint)
		}
	})
	b := &Bucket{client: client, name: l.Bucket}
	if l.Prefix != "" {
		b.prefix = l.Prefix + "/"
	}
	return b, nil
}

// URL implements blob.Store.
func (b *Bucket) URL(key string) string { return "s3://" + b.name + "/" + b.prefix + key }

// Put implements blob.Store. An object of one part is one request; a larger one
// shows only when all its parts are there.
func (b *Bucket) Put(ctx context.Context, key string, r io.ReadSeeker, size int64) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	if size < 0 {
		return fault.New(fault.Invalid, "an object has no %d bytes", size)
	}
	if size > PartSize {
		return b.putParts(ctx, key, r, size)
	}
	data := make([]byte, size)
	if err := exactly(r, data, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: b.key(key), Body: bytes.NewReader(data)})
	return failed(err)
}

// exactly fills data from r, which must end there when it is the last.
func exactly(r io.Reader, data []byte, last bool) error {
	_, err := io.ReadFull(r, data)
	if err == nil && last {
		var more [1]byte
		if n, end := io.ReadFull(r, more[:]); n > 0 || end != io.EOF {
			err = io.ErrShortBuffer
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrShortBuffer):
		return fault.New(fault.Invalid, "an object has another size than was announced")
	}
	return fault.Wrap(err, fault.Unavailable, "the object cannot be read: %v", err)
}

func (b *Bucket) putParts(ctx context.Context, key string, r io.Reader, size int64) (err error) {
	begun, err := b.begin(ctx, key)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			b.abort(ctx, key, begun)
		}
	}()
	var parts []types.CompletedPart
	buf := make([]byte, PartSize)
	for left := size; left > 0; left -= int64(len(buf)) {
		buf = buf[:min(left, PartSize)]
		if err := exactly(r, buf, left == int64(len(buf))); err != nil {
			return err
		}
		part, err := b.putPart(ctx, key, begun, int32(len(parts)+1), buf)
		if err != nil {
			return err
		}
		parts = append(parts, part)
	}
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	_, err = b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &b.name, Key: b.key(key), UploadId: begun,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	return failed(err)
}

func (b *Bucket) begin(ctx context.Context, key string) (*string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &b.name, Key: b.key(key)})
	if err != nil {
		return nil, failed(err)
	}
	return out.UploadId, nil
}

func (b *Bucket) putPart(ctx context.Context, key string, upload *string, number int32, data []byte) (types.CompletedPart, error) {
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{Bucket: &b.name, Key: b.key(key), UploadId: upload, PartNumber: &number, Body: bytes.NewReader(data)})
	if err != nil {
		return types.CompletedPart{}, failed(err)
	}
	return types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C,
		ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256}, nil
}

// abort frees the parts that were sent: they cost, and nobody sees them. Where it
// fails too, the bucket's own rule for unfinished uploads does it.
func (b *Bucket) abort(ctx context.Context, key string, upload *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	_, _ = b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.name, Key: b.key(key), UploadId: upload})
}

// Get implements blob.Store.
func (b *Bucket) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := blob.CheckKey(key); err != nil {
		return nil, err
	}
	in := &s3.GetObjectInput{Bucket: &b.name, Key: b.key(key)}
	switch {
	case offset < 0:
		return nil, fault.New(fault.Invalid, "an object has no byte %d", offset)
	case length == 0:
		return b.beyond(ctx, key, offset)
	case length > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := b.client.GetObject(ctx, in)
	if err == nil {
		return &body{out.Body}, nil
	}
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "InvalidRange" || api.ErrorCode() == "RequestedRangeNotSatisfiable") {
		return b.beyond(ctx, key, offset)
	}
	return nil, failed(err)
}

// beyond answers for a range that holds no byte.
func (b *Bucket) beyond(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	info, err := b.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if offset > info.Size {
		return nil, fault.New(fault.Invalid, "the object has %d bytes; byte %d was asked for", info.Size, offset)
	}
	return io.NopCloser(strings.NewReader("")), nil
}

// body gives the errors of a download their kind.
type body struct{ io.ReadCloser }

func (r *body) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = failed(err)
	}
	return n, err
}

// Stat implements blob.Store.
func (b *Bucket) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := blob.CheckKey(key); err != nil {
		return blob.Info{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: b.key(key)})
	if err != nil {
		return blob.Info{}, failed(err)
	}
	return blob.Info{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified)}, nil
}

// List implements blob.Store.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) ([]blob.Info, error) {
	if err := blob.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if limit <= 0 || limit > blob.MaxPage {
		limit = blob.MaxPage
	}
	in := &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: aws.String(b.prefix + prefix), MaxKeys: aws.Int32(int32(limit))}
	if after != "" {
		in.StartAfter = b.key(after)
	}
	var found []blob.Info
	for {
		out, err := b.page(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, o := range out.Contents {
			key := strings.TrimPrefix(aws.ToString(o.Key), b.prefix)
			if blob.CheckKey(key) == nil && len(found) < limit { // others share the bucket
				found = append(found, blob.Info{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)})
			}
		}
		if len(found) >= limit || !aws.ToBool(out.IsTruncated) {
			return found, nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

func (b *Bucket) page(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := b.client.ListObjectsV2(ctx, in)
	return out, failed(err)
}

// Delete implements blob.Store.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(key)})
	if err = failed(err); errors.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

func (b *Bucket) key(key string) *string { return aws.String(b.prefix + key) }

// failed gives an error of the storage its kind. Its text may name hosts and
// request ids, and no credential.
func failed(err error) error {
	var api smithy.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.Canceled, "canceled")
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(err, fault.Timeout, "the recording storage did not answer in time")
	case errors.As(err, &api):
		return refused(api)
	}
	return fault.Wrap(err, fault.Unavailable, "the recording storage cannot be reached")
}

func refused(err smithy.APIError) error {
	switch code := err.ErrorCode(); code {
	case "NoSuchKey", "NotFound":
		return fault.Wrap(err, fault.NotFound, "there is no such object")
	case "NoSuchBucket":
		return fault.Advise(fault.Wrap(err, fault.Unavailable, "the bucket of recordings does not exist"), "Make it, or correct audit_sessions_uri.")
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "Forbidden":
		return fault.Advise(fault.Wrap(err, fault.Denied, "the recording storage refuses this process: %s", code), "Look at the credentials of the auth service and the policy of the bucket.")
	default:
		return fault.Wrap(err, fault.Unavailable, "the recording storage fails: %s", code)
	}
}
