#!/bin/sh
# Builds docker's buildx, which Debian 12 has not, as a plugin of docker's client for the suites. Nobody else's client
# finds it: with it `docker build` is another command.
#
#   scripts/buildx.sh DIR    leaves DIR/cli-plugins/docker-buildx
#
# Quick when it is there. Where it cannot be built, for want of Go or of a network, the suites say so and leave its
# cases out.
set -eu

version=v0.33.0
dir=${1:?DIR}
plugin=$dir/cli-plugins/docker-buildx

[ "$(cat "$dir/version" 2>/dev/null)" = "$version" ] && [ -x "$plugin" ] && exit 0

PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || {
    echo "buildx: not built: there is no Go (go.dev/dl)" >&2
    exit 0
}
echo "buildx: building $version"
mkdir -p "$dir/cli-plugins"
dir=$(cd "$dir" && pwd)
# Its caches lie beside it, and go with it.
GOPATH=$dir/go GOCACHE=$dir/cache GOBIN=$dir/bin GOFLAGS=-modcacherw \
    go install "github.com/docker/buildx/cmd/buildx@$version" 2>"$dir/log" || {
    echo "buildx: not built:" >&2
    tail -n 5 "$dir/log" >&2
    exit 0
}
mv "$dir/bin/buildx" "$dir/cli-plugins/docker-buildx"
rm -rf "$dir/go" "$dir/cache" "$dir/bin"
echo "$version" >"$dir/version"
