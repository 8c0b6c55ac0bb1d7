#!/bin/sh
# The part of the published image's entry point that the Compose file needs: creates the database and its owner in PGDATA
# once, with the password from a variable or a file.
set -eu
export PGDATA="${PGDATA:-/var/lib/postgresql/data}"
user="${POSTGRES_USER:-postgres}"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf '%s' "${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:?}")}" > /tmp/password
  initdb --no-sync --username="$user" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust >/dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  rm /tmp/password
  pg_ctl -w -o "-c listen_addresses='' -k /tmp" start >/dev/null
  createdb -h /tmp -U "$user" "${POSTGRES_DB:-$user}" || true
  pg_ctl -w stop >/dev/null
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql,/tmp
