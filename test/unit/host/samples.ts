import type { HostFiles } from "../../../src/host/host-files.ts";

/** A recorded host: its files, and its symbolic links. */
export interface Sample {
  readonly files: Readonly<Record<string, string>>;
  readonly links?: Readonly<Record<string, string>>;
}

export function filesOf({ files, links = {} }: Sample): HostFiles {
  return {
    text: (path) => files[path] ?? null,
    link: (path) => links[path] ?? null,
    exists: (path) => path in files || path in links,
  };
}

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max file size             unlimited            unlimited            bytes     
Max data size             unlimited            unlimited            bytes     
Max stack size            8388608              unlimited            bytes     
Max core file size        0                    unlimited            bytes     
Max resident set          unlimited            unlimited            bytes     
Max processes             63432                63432                processes 
Max open files            1024                 524288               files     
Max locked memory         8388608              8388608              bytes     
Max address space         unlimited            unlimited            bytes     
Max file locks            unlimited            unlimited            locks     
Max pending signals       63432                63432                signals   
Max msgqueue size         819200               819200               bytes     
Max nice priority         0                    0                    
Max realtime priority     0                    0                    
Max realtime timeout      unlimited            unlimited            us        
`;

const status = (capabilities: string) =>
  `Name:\tnode\nUmask:\t0022\nPid:\t4242\nUid:\t0\t0\t0\t0\nCapInh:\t0000000000000000\nCapPrm:\t${capabilities}\nCapEff:\t${capabilities}\nCapBnd:\t${capabilities}\nNoNewPrivs:\t0\n`;

const common = {
  "/proc/self/limits": LIMITS,
  "/proc/self/status": status("000001ffffffffff"),
  "/proc/sys/kernel/cap_last_cap": "40\n",
  "/proc/sys/kernel/hostname": "alpha\n",
  "/proc/sys/kernel/threads-max": "126864\n",
  "/proc/sys/kernel/random/boot_id": "8d2c8a05-11c4-4c3e-9f3c-3a2d8f2b5a11\n",
  "/proc/sys/user/max_user_namespaces": "63432\n",
};

const ID_MAP = "         0          0 4294967295\n";

/** Debian 12, as installed: systemd, only cgroup2. */
export const unified: Sample = {
  files: {
    ...common,
    "/proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
    "/proc/self/uid_map": ID_MAP,
    "/proc/self/cgroup": "0::/user.slice/user-0.slice/session-1.scope\n",
    "/proc/self/mountinfo": `24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
25 30 0:23 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw
26 30 0:5 / /dev rw,nosuid,relatime shared:2 - devtmpfs udev rw,size=8138568k,nr_inodes=2034642,mode=755,inode64
27 26 0:24 / /dev/pts rw,nosuid,noexec,relatime shared:3 - devpts devpts rw,gid=5,mode=620,ptmxmode=000
28 30 0:25 / /run rw,nosuid,nodev,noexec,relatime shared:5 - tmpfs tmpfs rw,size=1632488k,mode=755,inode64
30 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
31 24 0:7 / /sys/kernel/security rw,nosuid,nodev,noexec,relatime shared:8 - securityfs securityfs rw
32 26 0:26 / /dev/shm rw,nosuid,nodev shared:4 - tmpfs tmpfs rw,inode64
33 28 0:27 / /run/lock rw,nosuid,nodev,noexec,relatime shared:6 - tmpfs tmpfs rw,size=5120k,inode64
34 24 0:28 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
35 24 0:29 / /sys/fs/pstore rw,nosuid,nodev,noexec,relatime shared:10 - pstore pstore rw
36 24 0:30 / /sys/fs/bpf rw,nosuid,nodev,noexec,relatime shared:11 - bpf bpf rw,mode=700
37 25 0:31 / /proc/sys/fs/binfmt_misc rw,relatime shared:15 - autofs systemd-1 rw,fd=29,pgrp=1,timeout=0,minproto=5,maxproto=5,direct,pipe_ino=17184
40 24 0:8 / /sys/kernel/debug rw,nosuid,nodev,noexec,relatime shared:12 - debugfs debugfs rw
`,
    "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
    "/sys/fs/cgroup/user.slice/cgroup.controllers": "cpuset cpu io memory pids\n",
    "/sys/fs/cgroup/user.slice/user-0.slice/cgroup.controllers": "memory pids\n",
    "/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope/cgroup.controllers": "memory pids\n",
    "/run/systemd/system": "",
    "/run/systemd/resolve/stub-resolv.conf": "nameserver 127.0.0.53\n",
    "/run/systemd/resolve/resolv.conf": "nameserver 192.0.2.1\n",
    "/usr/lib/systemd/resolv.conf": "nameserver 127.0.0.53\n",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/os-release":
      'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n',
  },
  links: { "/etc/localtime": "/usr/share/zoneinfo/Europe/Berlin" },
};

/** No systemd, every v1 controller in a hierarchy of its own, an empty cgroup2 beside them; a stacked /dev/pts. */
export const hybrid: Sample = {
  files: {
    ...common,
    "/proc/self/status": status("000001fffeffffff"),
    "/proc/sys/kernel/osrelease": "6.18.44-fc-v669\n",
    "/proc/self/uid_map": ID_MAP,
    "/proc/self/cgroup": `9:name=systemd:/
8:pids:/
7:blkio:/
6:freezer:/
5:devices:/
4:memory:/process_api/7731dfb4
3:cpuset:/
2:cpuacct:/
1:cpu:/
0::/
`,
    "/proc/self/mountinfo": `22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334460k,nr_inodes=3083615,mode=755
26 24 0:24 / /dev/pts rw,relatime - devpts devpts rw,mode=600,ptmxmode=000
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resv_strict
29 26 0:26 / /dev/pts rw,relatime - devpts devpts rw,mode=600,ptmxmode=000
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`,
    "/sys/fs/cgroup/unified/cgroup.controllers": "hugetlb\n",
    "/usr/lib/os-release": "ID=debian\nVERSION_ID=12\n",
  },
  links: { "/etc/localtime": "../usr/share/zoneinfo/Etc/UTC" },
};

/** An old host with v1 only, controllers joined in pairs. */
export const legacy: Sample = {
  files: {
    ...common,
    "/proc/sys/kernel/osrelease": "5.4.0-190-generic\n",
    "/proc/sys/kernel/cap_last_cap": "37\n",
    "/proc/self/uid_map": ID_MAP,
    "/proc/self/cgroup": `12:pids:/user.slice/user-0.slice/session-1.scope
4:cpu,cpuacct:/user.slice
3:memory:/user.slice/user-0.slice/session-1.scope
1:name=systemd:/user.slice/user-0.slice/session-1.scope
`,
    "/proc/self/mountinfo": `22 27 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
23 27 0:4 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
27 0 8:2 / / rw,relatime shared:1 - xfs /dev/sda2 rw,attr2,inode64,logbufs=8
30 22 0:25 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:26 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:10 - cgroup cgroup rw,xattr,name=systemd
32 30 0:29 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:14 - cgroup cgroup rw,memory
33 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
34 30 0:31 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,pids
`,
    "/run/systemd/system": "",
    "/etc/os-release": "ID=ubuntu\nVERSION_ID='20.04'\nVARIANT_ID=server\n",
  },
};

/** An ordinary docker container with a cgroup namespace: overlay root, read-only cgroup2, masks over /proc and /sys. */
export const docker: Sample = {
  files: {
    ...common,
    "/proc/self/status": status("00000000a80425fb"),
    "/proc/sys/kernel/osrelease": "6.8.0-45-generic\n",
    "/proc/self/uid_map": ID_MAP,
    "/proc/self/cgroup": "0::/\n",
    "/proc/self/mountinfo": `1287 911 0:151 / / rw,relatime master:406 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A:/var/lib/docker/overlay2/l/B,upperdir=/u,workdir=/w,nouserxattr
1288 1287 0:155 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
1289 1287 0:156 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755,inode64
1291 1287 0:158 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
1292 1291 0:30 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot
917 1288 0:155 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
918 1288 0:155 /fs /proc/fs ro,nosuid,nodev,noexec,relatime - proc proc rw
921 1288 0:155 /sys /proc/sys ro,nosuid,nodev,noexec,relatime - proc proc rw
923 1288 0:156 /null /proc/kcore rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755,inode64
928 1291 0:170 / /sys/firmware ro,relatime - tmpfs tmpfs ro,inode64
`,
    "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
    "/etc/os-release": "ID=debian\nVERSION_ID=12\n",
  },
};

/** A container without a cgroup namespace: its own cgroup is what is mounted, at an unusual place with a space. */
export const elsewhere: Sample = {
  files: {
    ...common,
    "/proc/sys/kernel/osrelease": "6.6.8-gentoo\n",
    "/proc/self/uid_map": ID_MAP,
    "/proc/self/cgroup": "0::/lxc.payload.web/init.scope\n",
    "/proc/self/mountinfo": `30 1 8:1 / / rw,relatime - btrfs /dev/sda1 rw,subvolid=256,subvol=/root
31 30 0:21 / /proc rw,relatime - proc proc rw
34 30 0:28 /lxc.payload.web /mnt/control\\040groups rw,relatime - cgroup2 none rw,nsdelegate
`,
    "/mnt/control groups/init.scope/cgroup.controllers": "cpu memory pids\n",
  },
};
