#!/usr/bin/env bash
# Builds Debian's libsrtp2 with OpenSSL instead of NSS, for a fair Janus. Usage: perf/peers/libsrtp.sh DIRECTORY
# Leaves DIRECTORY/libsrtp2.so.1. Touches no other part of the system: package lists and sources stay in DIRECTORY.
set -euo pipefail

directory=$(mkdir -p "$1" && cd "$1" && pwd)
for need in gcc:gcc make:make patch:patch tar:tar xz:xz-utils; do
    command -v "${need%%:*}" >/dev/null || { echo "libsrtp: ${need%%:*} is missing; install ${need##*:}" >&2; exit 1; }
done
[[ -e /usr/include/openssl/evp.h ]] || { echo "libsrtp: OpenSSL's headers are missing; install libssl-dev" >&2; exit 1; }

work=$directory/libsrtp-build
rm -rf "$work"
mkdir -p "$work"/lists/partial "$work"/cache/archives/partial
# The machine's own mirrors, asked for sources. Both formats of sources.list are understood.
shopt -s nullglob
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -e $list ]] && grep -hE '^deb .*debian' "$list" | sed 's/^deb /deb-src /' >>"$work/sources.list" || true
done
for list in /etc/apt/sources.list.d/*debian*.sources; do
    awk 'function flush(  i, n, list) { if (uris != "") { n = split(suites, list, " "); for (i = 1; i <= n; i++) print "deb-src " uris " " list[i] " " components } uris = "" }
        /^URIs:/ { $1 = ""; uris = substr($0, 2) } /^Suites:/ { $1 = ""; suites = substr($0, 2) }
        /^Components:/ { $1 = ""; components = substr($0, 2) } /^$/ { flush() } END { flush() }' "$list" >>"$work/sources.list"
done
options=(-o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists"
    -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root)
cd "$work"
apt-get -qq "${options[@]}" update
apt-get -qq "${options[@]}" source --download-only libsrtp2
tar xf libsrtp2_*.orig.tar.*
cd libsrtp-*/
tar xf ../libsrtp2_*.debian.tar.*
while read -r patch; do [[ -z $patch || $patch == \#* ]] || patch -s -p1 <"debian/patches/$patch"; done <debian/patches/series
CFLAGS=-O3 ./configure --enable-openssl --disable-stdout >configure.log
make -s shared_library >make.log 2>&1
ldd libsrtp2.so.1 | grep -q libcrypto || { echo "libsrtp: the library that was built does not use OpenSSL" >&2; exit 1; }
cp libsrtp2.so.1 "$directory/libsrtp2.so.1"
rm -rf "$work"
