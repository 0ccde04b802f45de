#!/bin/busybox sh
# PID 1 of the virtual machine: runs the tests in /src/list and examples/cluster, tells how each went, and powers off. The last
# line, "vm: failed:" and names, is for the host.

/bin/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
echo "vm: up"
/bin/busybox --install -s /bin
ln -s /bin/modprobe /sbin/modprobe # where the kernel asks for modules
export PATH=/bin:/sbin HOME=/root TMPDIR=/tmp GOTRACEBACK=all
chmod 1777 /tmp
mkdir -p /dev/pts /dev/shm
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount --make-rshared / # as service managers have it
modprobe ip_tables # as iptables-legacy does
hostname vm
ip link set lo up
stty -F /dev/console -onlcr

failed=

# things lists what may not be left behind.
things() {
  find /sys/fs/cgroup -mindepth 1 -type d
  cut -d' ' -f5 /proc/self/mountinfo
  ls /sys/class/net /run
  for p in /proc/[0-9]*; do # kernel threads have no command line
    tr '\0' ' ' <$p/cmdline 2>/dev/null | grep -v '^$'
  done
}

# run runs a command in a cgroup of its own, as service managers do, and says how it went.
run() {
  name=$1 start=$(cut -d. -f1 /proc/uptime)
  shift
  mkdir /sys/fs/cgroup/session
  things >/before
  (echo 0 >/sys/fs/cgroup/session/cgroup.procs && "$@")
  code=$?
  things >/after
  rmdir /sys/fs/cgroup/session || code=1
  left=$(diff /before /after | grep '^+[^+]') && code=1 && echo "left behind:" && echo "$left"
  took=$(($(cut -d. -f1 /proc/uptime) - start))s
  if [ $code = 0 ]; then
    echo "ok    $name  $took"
  else
    echo "FAIL  $name  $took  exit code $code"
    failed="$failed $name"
  fi
}

# cluster starts a cluster, waits until its demo runs and answers, and presses Ctrl-C.
cluster() {
  cd /root && mkdir data && touch said
  /bin/cluster -data-dir data >said 2>&1 &
  for i in $(seq 180); do
    grep -q '^Ctrl-C ends it' said && break
    kill -0 $! || break
    sleep 1
  done
  kill -INT $!
  wait $!
  code=$?
  cat said
  grep -q 'answer behind their service' said || code=1
  return $code
}

while read -r package <&3; do
  cd "/src/$package" && run "$package" ./tests $(cat /src/args)
done 3</src/list
[ -x /bin/cluster ] && run cluster cluster

echo "vm: failed:$failed"
sync
poweroff -f
