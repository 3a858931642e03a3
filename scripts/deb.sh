#!/bin/sh
# Makes a Debian package of the programs that are built. `make deb` builds them first.
#
#   scripts/deb.sh DIR      DIR/hull_VERSION_amd64.deb; its path is printed
#
# What `make install` installs, and what a package has besides: the group, a configuration to fill in,
# documents, and the scripts that dpkg calls, dist/debian.
set -eu

: "${1:?usage: deb.sh DIR}"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
bin=${HULL_BIN_DIR:-$PWD/target/hull/bin}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM
chmod 755 "$root"
umask 022

make -s --no-print-directory place DESTDIR="$root" PREFIX=/usr BIN="$bin"
# Where Debian's zsh looks.
mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
gzip -9 -n "$root"/usr/share/man/man1/*
doc=$root/usr/share/doc/hull
install -d "$doc/docs" "$root/etc/hull"
install -m 644 ./*.md "$doc"
install -m 644 docs/*.md "$doc/docs"
install -m 644 LICENSE "$doc/copyright"
install -m 644 dist/hulld.toml "$root/etc/hull"

install -d "$root/DEBIAN"
install -m 755 dist/debian/postinst dist/debian/prerm dist/debian/postrm "$root/DEBIAN"
echo /etc/hull/hulld.toml >"$root/DEBIAN/conffiles"
(cd "$root" && find etc usr -type f -exec md5sum {} +) >"$root/DEBIAN/md5sums"
commas() { scripts/deps.sh names "$1" | sed 's/ /, /g'; }
sed -e "s/@VERSION@/$version/" -e "s/@ENGINE@/$(commas engine)/" -e "s/@VM@/$(commas vm)/" \
    -e "s/@SIZE@/$(du -sk --exclude DEBIAN "$root" | cut -f 1)/" dist/debian/control >"$root/DEBIAN/control"

package=$dir/hull_${version}_amd64.deb
dpkg-deb --root-owner-group -Zzstd --build "$root" "$package" >/dev/null
echo "$package"
