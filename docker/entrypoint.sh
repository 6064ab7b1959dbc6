#!/bin/sh
# Runs a command with secrets from files: where NAME_FILE names a file, NAME is its contents. These programs know them
# as variables alone; set here, they stand in no image, no compose file and no `docker inspect`.
set -eu
for name in PREFECT_API_AUTH_STRING PREFECT_SERVER_API_AUTH_STRING PREFECT_SERVER_DATABASE_PASSWORD TRITRACK_PROXY; do
  eval "file=\${${name}_FILE:-}"
  if [ -n "$file" ]; then
    value=$(cat "$file")
    export "$name=$value"
    unset "${name}_FILE"
  fi
done
exec "$@"
