#!/usr/bin/env bash
# Make the secrets of a new installation, once: what is there already stays, for other secrets would orphan its data.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
keep() { [[ -e secrets/$1 ]] || printf '%s' "$2" >"secrets/$1"; }

keep redis_password "$(openssl rand -hex 24)"
keep redis__url "redis://:$(cat secrets/redis_password)@redis:6379/0"
keep postgres_password "$(openssl rand -hex 24)"
keep history__url "postgresql+psycopg://cardwatch:$(cat secrets/postgres_password)@postgres:5432/cardwatch"
keep detector__fingerprint_key "$(openssl rand -hex 16)"
keep api__session_secret "$(openssl rand -hex 32)"
keep desk__code_secret "$(openssl rand -hex 32)"
if [[ ! -e secrets/api__keys ]]; then
    key=$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=')
    digest=$(printf '%s' "$key" | sha256sum | cut -d ' ' -f 1)
    keep api__keys "{\"first-agent\": {\"role\": \"senior_agent\", \"sha256\": \"$digest\"}}"
    echo "The key of first-agent, shown this once: $key"
fi
# The container's user has another number than yours, and the directory keeps everybody else out.
chmod 0711 secrets
chmod 0444 secrets/*
