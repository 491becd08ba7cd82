#!/bin/sh
# The first process of an emulated board, in mount, process, IPC and host name namespaces of its own: whatever it
# mounts and starts is gone when it ends, however it ends. sdk/board/virtual.py runs it as root:
#
#   board_init.sh FOLDER ROOT USER SHARED_MEMORY_BYTES BINFMT_NAME BINFMT_RULE
#
# FOLDER holds what is the board's own (see sdk/board/virtual.py); ROOT is the userland, which stays read only.
set -eu
umask 022 # whatever the caller's is: the board's user reads what is made here
folder=$1 root=$2 user=$3 shared_memory=$4 binfmt_name=$5 binfmt_rule=$6

# The kernel hands ARM programs to QEMU. A rule's interpreter is opened when it is registered (flag F), so that it is
# found from inside the board. The rule is the whole kernel's; sdk/board/virtual.py takes it away at the end.
binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt || true
if [ -e "$binfmt/$binfmt_name" ]; then # of a board that was killed; QEMU may have been replaced since
  echo -1 >"$binfmt/$binfmt_name"
fi
printf '%s' "$binfmt_rule" >$binfmt/register ||
  echo "armlet: cannot register QEMU with binfmt_misc; going on with what is registered" >&2

# sshd's own place. Host accounts and a name service cache under /run are not visible from here on, except those of
# FOLDER/passwd: the host's and the board's user.
mount -t tmpfs -o mode=0755 armlet /run
mkdir /run/sshd /run/armlet /run/armlet/root
cp "$folder/sshd_config" "$folder/ssh/host_key" /run/armlet/
cp "$folder/ssh/user_key.pub" /run/armlet/authorized_keys
chown 0:0 /run/armlet/*
chmod 600 /run/armlet/host_key
chmod 644 /run/armlet/authorized_keys /run/armlet/sshd_config
mount --bind "$folder/passwd" /etc/passwd

# The board's file system.
board=/run/armlet/root
mount --bind "$root" $board
mount -o remount,bind,ro $board
mount -t tmpfs -o mode=1777 armlet $board/tmp
mount -t tmpfs -o mode=0755 armlet $board/run
mount --bind "$folder/home" "$board/home/$user"
mount --bind "$folder/system/sys" $board/sys
mount -o remount,bind,ro $board/sys
mount -t proc proc $board/proc
mount --bind "$folder/system/proc/cpuinfo" $board/proc/cpuinfo
mount -t tmpfs -o mode=0755 armlet $board/dev
for device in full null ptmx random tty urandom zero; do
  : >"$board/dev/$device"
  mount --bind "/dev/$device" "$board/dev/$device"
done
mkdir $board/dev/pts $board/dev/shm
mount --bind /dev/pts $board/dev/pts
mount -t tmpfs -o "mode=1777,size=$shared_memory" armlet $board/dev/shm
ln -s /proc/self/fd $board/dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do
  ln -s "/proc/self/fd/${stream%%:*}" "$board/dev/${stream#*:}"
done

echo "${folder##*/}" >/proc/sys/kernel/hostname || true
if ! chroot $board /bin/true; then
  echo "armlet: programs of the board do not start: is QEMU registered with binfmt_misc?" >&2
  exit 1
fi
exec "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f /run/armlet/sshd_config
