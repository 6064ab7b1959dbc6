#!/bin/sh
# The S3 store, all in one process: only its S3 gateway, which asks for credentials, listens beyond loopback. Its gRPC
# port cannot be bound apart: a signing key that this process alone knows closes it.
set -eu
WEED_JWT_FILER_SIGNING_KEY=$(head -c 32 /dev/urandom | base64)
export WEED_JWT_FILER_SIGNING_KEY
exec /usr/bin/weed -logtostderr=true server \
  -dir=/data -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -volume.max=0 -volume.preStopSeconds=1 -master.volumeSizeLimitMB=1024 -master.telemetry=false \
  -s3 -s3.ip.bind=0.0.0.0 -s3.port=8333 -s3.config="$S3_CONFIG" \
  -s3.iam=false -s3.autoCreateBucket=false -s3.port.iceberg=0 -s3.port.lance=0
