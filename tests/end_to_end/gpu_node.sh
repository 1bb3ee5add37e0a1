# A node with a GPU that cannot be used, in a mount and network namespace of its own (`unshare -mn bash gpu_node.sh COMMAND...`):
# a fake /dev/nvidia0, no driver, no nvcc, no ninja on PATH, no index.
set -euo pipefail
dev=/mnt # any folder: the mount is seen here alone
mount -t tmpfs none "$dev"
mkdir "$dev/shm" "$dev/pts"
for each in null zero full random urandom tty; do
    touch "$dev/$each"
    mount --bind "/dev/$each" "$dev/$each"
done
ln -s /proc/self/fd "$dev/fd"
ln -s /proc/self/fd/0 "$dev/stdin"
ln -s /proc/self/fd/1 "$dev/stdout"
ln -s /proc/self/fd/2 "$dev/stderr"
mount --bind /dev/shm "$dev/shm"
mknod "$dev/nvidia0" c 195 0
mount --rbind "$dev" /dev
# This machine may have CUDA in its usual place.
[ ! -e /usr/local/cuda ] || mount -t tmpfs none "$(realpath /usr/local/cuda)"
# Nor another run of Ray here.
mkdir -p /tmp/ray
mount -t tmpfs none /tmp/ray
ip link set lo up
export PATH=${NODE_PATH:-/usr/bin:/bin}
unset CUDA_HOME CUDA_PATH
exec "$@"
