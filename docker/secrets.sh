#!/bin/sh
# Makes the stack's secrets, random ones, in docker/secrets (or the folder that is given); what is there already stays.
#   sh docker/secrets.sh [FOLDER]
# The folder is closed to other users of this machine. The files in it are readable by all, since the services' users,
# which are not this one, read them through their mounts.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"

random() {
  head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'
}

keep() { # NAME: its contents come from the standard input
  if [ ! -e "$folder/$1" ]; then
    cat > "$folder/.$1"
    chmod 444 "$folder/.$1"
    mv "$folder/.$1" "$folder/$1"
  fi
}

random | keep postgres_password
printf 'tritrack:%s' "$(random)" | keep prefect_auth
key=$(random)
keep aws_credentials <<END
[default]
aws_access_key_id = tritrack
aws_secret_access_key = $key
END
key=$(sed -n 's/^aws_secret_access_key = //p' "$folder/aws_credentials")
keep store.json <<END
{"identities": [{"name": "tritrack", "credentials": [{"accessKey": "tritrack", "secretKey": "$key"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
END
echo "secrets are in $folder; the UI asks for the contents of $folder/prefect_auth"
