package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bucket is a bucket of an object store, or what lies under a prefix in it.
type bucket struct {
	client       minio.Core
	name, prefix string
}

func openBucket(u *url.URL, keys string) (files, error) {
	// What the environment says is what AWS's own tools take from it.
	chain := credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}})
	if keys != "" {
		if _, err := os.Stat(keys); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		chain = credentials.NewFileAWSCredentials(keys, "")
		if _, err := chain.GetWithContext(nil); err != nil {
			return nil, fmt.Errorf("credentials %s: %w; want [default] with aws_access_key_id and aws_secret_access_key", keys, err)
		}
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: chain, Secure: u.Scheme == "https",
		MaxRetries: 1, // repetitions are made here (fetch.go), for every kind of store
	})
	if err != nil {
		return nil, err
	}
	name, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	return bucket{minio.Core{Client: client}, name, prefix}, nil
}

func (b bucket) get(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	var o minio.GetObjectOptions
	if offset > 0 {
		if err := o.SetRange(offset, 0); err != nil {
			return nil, refusal{err}
		}
	}
	r, _, _, err := b.client.GetObject(ctx, b.name, path.Join(b.prefix, name), o)
	if err != nil {
		return nil, b.judge(err)
	}
	return r, nil
}

func (b bucket) size(ctx context.Context, name string) (int64, error) {
	info, err := b.client.StatObject(ctx, b.name, path.Join(b.prefix, name), minio.StatObjectOptions{})
	if err != nil {
		return 0, b.judge(err)
	}
	return info.Size, nil
}

func (b bucket) put(ctx context.Context, name string, r io.Reader, size int64) error {
	// Through the Client: large files go in parts.
	if _, err := b.client.Client.PutObject(ctx, b.name, path.Join(b.prefix, name), r, size, minio.PutObjectOptions{}); err != nil {
		return b.judge(err)
	}
	return nil
}

func (b bucket) judge(err error) error {
	answer := minio.ToErrorResponse(err)
	switch {
	case answer.Code == minio.NoSuchBucket:
		return refusal{fmt.Errorf("there is no bucket %s; make it first", b.name)}
	case answer.Code == "":
		return err
	case errors.Is(err, context.Canceled):
		return err
	}
	return judge(answer.StatusCode, fmt.Errorf("bucket %s: %w", b.name, err))
}
