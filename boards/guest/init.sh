#!/bin/busybox sh
# The guest's first process: prepares the normal world, and gives the console a root shell. The guest goes off with it.

export PATH=/usr/sbin:/usr/bin HOME=/root TERM=vt100 PS1='\h:\w\$ '
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s  # links for all that it can be; it looks for itself in /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
hostname litebox
ip link set lo up

say() {
    echo "litebox guest: $*" >/dev/console
}

# An eMMC, before anybody asks tee-supplicant for its RPMB.
if grep -q 0x0805 /sys/bus/pci/devices/*/class 2>/dev/null && modprobe sdhci-pci; then
    tries=50
    while [ ! -c /dev/mmcblk0rpmb ] && [ $tries -gt 0 ]; do
        usleep 100000
        tries=$((tries - 1))
    done
    [ -c /dev/mmcblk0rpmb ] || say "the eMMC has no RPMB; going on without"
fi

if [ ! -d /proc/device-tree/firmware/optee ]; then
    say "this machine has no OP-TEE; going on without"
elif ! modprobe optee && [ ! -d /sys/bus/tee ]; then
    say "the image has no OP-TEE driver for kernel $(uname -r); going on without"
else
    tries=50
    while [ ! -c /dev/teepriv0 ] && [ $tries -gt 0 ]; do
        usleep 100000
        tries=$((tries - 1))
    done
    if [ -c /dev/teepriv0 ]; then
        tee-supplicant -d || say "tee-supplicant did not start"
    else
        say "OP-TEE's driver found no secure world that answers; going on without"
    fi
fi

# The user's own: added with the image's other files, and run before the shell.
[ -x /etc/litebox/start ] && /etc/litebox/start

cd /root
# A controlling terminal, so that Ctrl-C and job control work.
setsid -c sh
poweroff -f
