#!/bin/sh
# Unpacks (does not install) Debian's cloud kernel for VM mode.
#
#   scripts/vm-kernel.sh [DIR]        default /var/lib/hull/vm/kernel
#
# Leaves DIR/boot/vmlinuz-RELEASE and DIR/lib/modules/RELEASE with modules.dep. Runs again without a
# download when the release that the metapackage names is there already. Older releases in DIR stay:
# running guests may come from them, and Hull takes the newest.
set -eu

dir=${1:-/var/lib/hull/vm/kernel}

say() { echo "vm-kernel: $*"; }
die() { echo "vm-kernel: $*" >&2; exit 1; }

for tool in apt-cache apt-get dpkg-deb depmod; do
    command -v "$tool" >/dev/null || die "$tool is missing: this script needs Debian or Ubuntu (apt, kmod)"
done
case $(dpkg --print-architecture) in
    amd64) meta=linux-image-cloud-amd64 ;;
    *) die "no guest kernel is known for $(dpkg --print-architecture): Hull runs VMs on amd64 only" ;;
esac

resolve() {
    apt-cache depends --important "$meta" 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1
}
package=$(resolve)
if [ -z "$package" ]; then
    apt-get update -qq || die "apt-get update does not work, and $meta is not known without it"
    package=$(resolve)
fi
[ -n "$package" ] || die "$meta names no kernel package: are Debian's sources in /etc/apt?"
release=${package#linux-image-}

if [ -f "$dir/boot/vmlinuz-$release" ] && [ -s "$dir/lib/modules/$release/modules.dep" ]; then
    say "$dir has $release"
    exit 0
fi

mkdir -p "$dir"
work=$(mktemp -d "$dir/.download.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
chmod 755 "$work"   # apt's download user must reach it

say "downloading $package"
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package") ||
    (apt-get update -qq && cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package") ||
    die "cannot download $package"

dpkg-deb -x "$work"/*.deb "$work/tree"
# From Debian 13 on, /lib is a link and packages hold usr/lib.
modules=$work/tree/lib/modules/$release
[ -d "$modules" ] || modules=$work/tree/usr/lib/modules/$release
[ -d "$modules" ] || die "$package holds no modules for $release"
mkdir -p "$work/base/lib/modules"
mv "$modules" "$work/base/lib/modules/$release"
depmod -b "$work/base" "$release"

# The kernel comes last: what is found by its vmlinuz is complete.
mkdir -p "$dir/boot" "$dir/lib/modules"
rm -rf "$dir/lib/modules/$release"
mv "$work/base/lib/modules/$release" "$dir/lib/modules/$release"
mv "$work/tree/boot/config-$release" "$dir/boot/config-$release"
mv "$work/tree/boot/vmlinuz-$release" "$dir/boot/vmlinuz-$release"
say "$dir has $release"
