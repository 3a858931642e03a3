#!/bin/sh
# Makes an image of Debian's static busybox, for a machine that reaches no registry.
#
#   scripts/busybox-image.sh DIR      DIR becomes an OCI image layout with the tag "latest"
#
# Two layers, as real images have: the second hides a file of the first (a whiteout) and adds one.
# The same busybox gives the same digests.
#
# Spec: OCI image-spec, image-layout.md, manifest.md, config.md, layer.md "Whiteouts".
set -eu

die() { echo "busybox-image: $*" >&2; exit 1; }

dir=${1:?usage: busybox-image.sh DIR}
busybox=$(command -v busybox) || die "busybox is missing: apt-get install busybox-static"
case $(ldd "$busybox" 2>&1) in
    *'not a dynamic'*) ;;
    *) die "$busybox is not static: apt-get install busybox-static" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
blobs=$dir/blobs/sha256
mkdir -p "$blobs"

sum() { sha256sum "$1" | cut -d ' ' -f 1; }
size() { stat -c %s "$1"; }
# Moves a file to its place among the blobs and prints its digest.
blob() {
    digest=$(sum "$1")
    mv "$1" "$blobs/$digest"
    echo "$digest"
}
# Packs a tree the same way every time.
pack() {
    tar -C "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$2" .
}

mkdir -p "$work/1/bin" "$work/1/etc" "$work/1/root" "$work/1/usr/share" "$work/1/dev" \
    "$work/1/proc" "$work/1/sys" "$work/1/var/empty" "$work/2/usr/share"
mkdir -m 1777 "$work/1/tmp"
install -m 755 "$busybox" "$work/1/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$work/1/bin/$applet"
done
cat >"$work/1/etc/passwd" <<PASSWD
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
guest:x:1000:1000:guest:/tmp:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
PASSWD
cat >"$work/1/etc/group" <<GROUP
root:x:0:
daemon:x:1:
wheel:x:10:guest
guest:x:1000:
nogroup:x:65534:
GROUP
echo "hidden by the second layer" >"$work/1/usr/share/hidden"
: >"$work/2/usr/share/.wh.hidden"
echo "from the second layer" >"$work/2/usr/share/added"

layers= diff_ids=
for layer in 1 2; do
    pack "$work/$layer" "$work/$layer.tar"
    diff_id=$(sum "$work/$layer.tar")
    gzip -n -1 "$work/$layer.tar"
    bytes=$(size "$work/$layer.tar.gz")
    digest=$(blob "$work/$layer.tar.gz")
    layers="$layers${layers:+,}{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$digest\",\"size\":$bytes}"
    diff_ids="$diff_ids${diff_ids:+,}\"sha256:$diff_id\""
done

cat >"$work/config" <<CONFIG
{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:00Z",
 "config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","IMAGE=busybox"],
 "Cmd":["sh"],"WorkingDir":"/","Labels":{"dev.hull.sample":"busybox"}},
 "rootfs":{"type":"layers","diff_ids":[$diff_ids]},
 "history":[{"created":"1970-01-01T00:00:00Z","created_by":"busybox"},
 {"created":"1970-01-01T00:00:00Z","created_by":"hide and add"}]}
CONFIG
config_size=$(size "$work/config")
config=$(blob "$work/config")

cat >"$work/manifest" <<MANIFEST
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
 "config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$config_size},
 "layers":[$layers]}
MANIFEST
manifest_size=$(size "$work/manifest")
manifest=$(blob "$work/manifest")

cat >"$dir/index.json" <<INDEX
{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
 "digest":"sha256:$manifest","size":$manifest_size,
 "annotations":{"org.opencontainers.image.ref.name":"latest"}}]}
INDEX
echo '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci-layout"
