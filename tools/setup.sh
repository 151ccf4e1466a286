#!/usr/bin/env bash
# Installs what a fresh Debian machine lacks. Usage: tools/setup.sh run|test|bench
# Idempotent and quiet when nothing is missing; says what to do when it cannot install.
set -euo pipefail

mode=${1:-run}

# command that must exist -> Debian package that brings it
run_needs=(cc:gcc c++:g++ node:nodejs npm:npm)
test_needs=("${run_needs[@]}" chromium:chromium firefox-esr:firefox-esr pulseaudio:pulseaudio promtool:prometheus ip:iproute2)
bench_needs=("${run_needs[@]}" ip:iproute2)

case $mode in
    run) needs=("${run_needs[@]}") ;;
    test) needs=("${test_needs[@]}") ;;
    bench) needs=("${bench_needs[@]}") ;;
    *) echo "usage: $0 run|test|bench" >&2; exit 2 ;;
esac

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is missing; install Rust 1.95 or newer (rustup) and run this again" >&2
    exit 1
fi

missing=()
for need in "${needs[@]}"; do
    command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
done
# The Python SDK's tests want an environment of their own, which Debian makes with a package of its own.
if [[ $mode == test ]] && ! /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
fi
if ((${#missing[@]})); then
    sudo=()
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "setup: missing packages: ${missing[*]}; as root run: apt-get install ${missing[*]}" >&2
            exit 1
        fi
        sudo=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    log=$(mktemp)
    if ! { "${sudo[@]}" apt-get update -qq &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "setup: apt-get could not install ${missing[*]} (log: $log)" >&2
        exit 1
    fi
    rm -f "$log"
fi

if [[ $mode == test ]]; then
    venv=${CARGO_TARGET_DIR:-target}/clients-venv
    if ! cmp -s tests/clients/requirements.txt "$venv/requirements.txt"; then
        echo "setup: installing the Python clients of the tests"
        /usr/bin/python3 -m venv --system-site-packages "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
        cp tests/clients/requirements.txt "$venv/requirements.txt"
    fi
fi

node_version=$(node --version | sed 's/^v//')
if [[ $(printf '%s\n' 20.19.0 "$node_version" | sort -V | head -n 1) != 20.19.0 ]]; then
    echo "setup: Node.js $node_version is too old; 20.19 or newer is needed to build the web client" >&2
    exit 1
fi
