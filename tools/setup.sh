#!/usr/bin/env bash
# Installs what a fresh Debian machine lacks. Usage: tools/setup.sh run|test|bench|peers
# Idempotent and quiet when nothing is missing; says what to do when it cannot install.
set -euo pipefail

mode=${1:-run}

# command that must exist -> Debian package that brings it
run_needs=(cc:gcc c++:g++ node:nodejs npm:npm)
test_needs=("${run_needs[@]}" chromium:chromium firefox-esr:firefox-esr pulseaudio:pulseaudio promtool:prometheus ip:iproute2 nft:nftables)
# OpenSSL is a rival that kaigi-perf measures; the command comes with the library.
bench_needs=("${run_needs[@]}" ip:iproute2 openssl:openssl)
# What kaigi-perf peers compares with, and what builds its SRTP library.
peers_needs=("${bench_needs[@]}" janus:janus make:make patch:patch xz:xz-utils)
# Packages of the test clients that bring no command: GStreamer's elements and its Python bindings.
client_needs=(python3 python3-venv python3-gi gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice)

case $mode in
    run) needs=("${run_needs[@]}") ;;
    test) needs=("${test_needs[@]}") ;;
    bench) needs=("${bench_needs[@]}") ;;
    peers) needs=("${peers_needs[@]}") ;;
    *) echo "usage: $0 run|test|bench|peers" >&2; exit 2 ;;
esac

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is missing; install Rust 1.95 or newer (rustup) and run this again" >&2
    exit 1
fi

missing=()
for need in "${needs[@]}"; do
    command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
done
if [[ $mode == test ]]; then
    for package in "${client_needs[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
fi
if [[ $mode == peers && ! -e /usr/include/openssl/evp.h ]]; then
    missing+=(libssl-dev)
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

node_version=$(node --version | sed 's/^v//')
if [[ $(printf '%s\n' 20.19.0 "$node_version" | sort -V | head -n 1) != 20.19.0 ]]; then
    echo "setup: Node.js $node_version is too old; 20.19 or newer is needed to build the web client" >&2
    exit 1
fi

# The distribution's Python, because GStreamer's bindings are for it. The stamp is a copy of what was installed.
if [[ $mode == test ]]; then
    root=$(cd "$(dirname "$0")/.." && pwd)
    wanted=$root/tests/clients/requirements.txt venv=$root/target/clients-venv
    if ! cmp -s "$wanted" "$venv/installed.txt"; then
        echo "setup: installing the Python packages of tests/clients"
        log=$(mktemp)
        if ! { /usr/bin/python3 -m venv --clear --system-site-packages "$venv" &&
            "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"; } >"$log" 2>&1; then
            tail -n 20 "$log" >&2
            echo "setup: pip could not install $wanted (log: $log)" >&2
            exit 1
        fi
        cp "$wanted" "$venv/installed.txt"
        rm -f "$log"
    fi
fi
