# SPDX-License-Identifier: Apache-2.0
"""One virtual machine: boots a cached kernel on the host's root, runs a command, and always ends."""

import contextlib
import json
import os
import re
import secrets
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

import cache
import initramfs

QEMU = "qemu-system-x86_64"
PROGRAMS = {QEMU: "qemu-system-x86", "setpriv": "util-linux"}
GUEST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Made anew in the guest, so what the host has there is out of sight.
HIDDEN = ["/tmp", "/var/tmp", "/run", "/var/lib/containers"]
OVERLAYS = ["/etc", "/var", "/root", "/home"]
END_WITH_US = ["setpriv", "--pdeathsig", "KILL"]


class Result:
    """status: what the command exited with, None when there is no verdict; then `why` says what happened."""

    def __init__(self):
        self.status, self.why, self.seconds = None, None, 0.0


def below(path, directory):
    return os.path.commonpath([path, directory]) == directory


def kept_dirs(paths):
    """Those directories that the guest's own /tmp and the like would hide."""
    kept = []
    for path in map(os.path.realpath, paths):
        if any(below(path, hidden) for hidden in HIDDEN) and path not in kept:
            if re.search(r"\s", path):
                raise cache.Failure(f"{path!r}: white space in a directory below {', '.join(HIDDEN)} is not supported")
            kept.append(path)
    return kept


def command_script(command, environment):
    """What the guest's shell runs. The program is looked up here, as busybox would prefer its own applets."""
    program = command[0] if "/" in command[0] else shutil.which(command[0], path=GUEST_PATH)
    if not program:
        raise cache.Failure(f"{command[0]}: not found in {GUEST_PATH}")
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f"cd -- {shlex.quote(os.getcwd())} || exit 127", "exec " + shlex.join([program] + command[1:])]
    return "\n".join(lines) + "\n"


def guest_settings(kernel, keep, results, mark):
    home_readable = os.access("/root", os.R_OK | os.X_OK)
    return {
        # Without a cache every page of every program is read anew: several times slower. The guest does not see what the
        # host changes meanwhile, which suits a test.
        "p9_options": "cache=loose,msize=512000",
        "overlay_dirs": " ".join(d for d in OVERLAYS if d != "/root" or home_readable),
        "tmpfs_dirs": " ".join([d for d in HIDDEN if d != "/run"] + ([] if home_readable else ["/root"])),
        "keep_dirs": " ".join(kept_dirs([os.getcwd(), cache.root()] + keep)),
        "results_dir": os.path.realpath(results) if results else "",
        "modules_dir": os.path.join(os.path.realpath(kernel["dir"]), "lib/modules"),
        "host_name": "moat-vm",
        "end_mark": mark,
    }


def quoted(path):
    return path.replace(",", ",,")


def kernel_parameters(kernel, options, emulated):
    words = ["console=ttyS0", "panic=-1", "oops=panic"]
    if emulated:
        # With libraries at the same addresses every time, code that was translated for one process serves the next:
        # starting a program takes 18 ms rather than 43 ms.
        words.append("norandmaps")
    return " ".join([*words, kernel["append"], options.append]).strip()


def qemu_command(kernel, files, options, acceleration):
    """files: paths of initramfs, console and results (or None), and the descriptors out and err."""
    command = [
        QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35", *acceleration,
        "-cpu", "max", "-m", options.memory, "-smp", str(options.cpus),
        "-kernel", os.path.join(kernel["dir"], "vmlinuz"), "-initrd", files["initramfs"],
        "-append", kernel_parameters(kernel, options, "kvm" not in acceleration),
        "-serial", "file:" + files["console"], "-device", "virtio-serial-pci",
        "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=/dev/root",
    ]
    for name in ("out", "err"):
        command += ["-chardev", f"file,id={name},path=/proc/self/fd/{files[name]}",
                    "-device", f"virtserialport,chardev={name},name=vmtest.{name}"]
    if files["results"]:
        command += ["-fsdev", f"local,id=results,path={quoted(files['results'])},security_model=none,multidevs=remap",
                    "-device", "virtio-9p-pci,fsdev=results,mount_tag=results"]
    return command


@contextlib.contextmanager
def running(command, descriptors, errors):
    """qemu in a session of its own (a ^C reaches it through us only), dead for certain when the block is left."""
    process = subprocess.Popen(END_WITH_US + command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                               pass_fds=descriptors, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Stream:
    """One of the command's streams: passes on what was written, up to the end mark and without it."""

    def __init__(self, descriptor, mark, sink):
        self.descriptor, self.sink = descriptor, sink
        self.mark, self.held, self.status, self.open = b"\n" + mark.encode() + b" ", b"", None, True

    def read(self):
        data = os.read(self.descriptor, 65536)
        if not data:
            self.open = False
            self.pass_on(self.held)
            return
        self.held += data
        before, mark, after = self.held.partition(self.mark)
        if mark:
            if after.endswith(b"\n"):
                self.status, self.open = int(after), False
                self.pass_on(before)
            return
        # A mark may have arrived in part.
        part = next((n for n in range(min(len(self.mark), len(before)), 0, -1) if before.endswith(self.mark[:n])), 0)
        self.held = before[len(before) - part:]
        self.pass_on(before[:len(before) - part])

    def pass_on(self, data):
        if data:
            self.sink(data)


def pump(streams, deadline, tick):
    """Reads the streams until both are over. False: time is up."""
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.descriptor, selectors.EVENT_READ, stream)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for key, _ in selector.select(min(left, 0.5)):
                key.data.read()
                if not key.data.open:
                    selector.unregister(key.fd)
            tick()
    return True


def ended_by_itself(process):
    """qemu's exit status once its ends of the pipes are closed; None when it is alive all the same."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(5)
    return None


def why_it_died(console, stderr, ended):
    with open(console, errors="replace", encoding="utf-8") as file:
        text = file.read()
    panic = re.search(r"Kernel panic - not syncing: .*", text)
    if panic:
        return panic.group(0).strip()
    guest = re.findall(r"vmtest: guest: (.*)", text)
    if guest:
        return guest[-1].strip()
    if stderr:
        return f"the machine died: {stderr}"
    if ended is not None and ended < 0:
        return f"qemu was killed by signal {-ended}"
    return "the machine went down before the command ended"


def boot(kernel, script, options, sinks, console, acceleration):
    """Boots, runs script, feeds what it writes to sinks (out, err). options: memory, cpus, timeout, append, keep,
    results, tick (called now and then; what it raises ends the machine). The console's text is left in the file `console`."""
    result, mark, start = Result(), "vmtest-end-" + secrets.token_hex(8), time.monotonic()
    open(console, "w", encoding="utf-8").close()
    with tempfile.TemporaryFile() as image, tempfile.TemporaryFile() as errors, \
            contextlib.ExitStack() as stack:
        with open(os.path.join(kernel["dir"], "initramfs"), "rb") as base:
            shutil.copyfileobj(base, image)
        image.write(initramfs.overlay(guest_settings(kernel, options.keep, options.results, mark), script))
        image.flush()
        pipes = [os.pipe(), os.pipe()]
        for reader, _ in pipes:
            stack.callback(os.close, reader)
        files = {"initramfs": f"/proc/self/fd/{image.fileno()}", "console": console, "out": pipes[0][1], "err": pipes[1][1],
                 "results": options.results}
        command = qemu_command(kernel, files, options, acceleration)
        with running(command, [image.fileno(), files["out"], files["err"]], errors) as process:
            for _, writer in pipes:
                os.close(writer)
            streams = [Stream(pipe[0], mark, sink) for pipe, sink in zip(pipes, sinks)]
            in_time = pump(streams, start + options.timeout, options.tick)
            result.status = streams[0].status
            if not in_time:
                result.status, result.why = None, f"timed out after {options.timeout} s"
            elif result.status is None:
                ended = ended_by_itself(process)
        if result.status is None and not result.why:
            errors.seek(0)
            result.why = why_it_died(console, errors.read().decode(errors="replace").strip(), ended)
    result.seconds = time.monotonic() - start
    return result


class Probe:
    """The options of a short boot that only asks whether hardware virtualisation works."""
    memory, cpus, timeout, append, keep, results = "512M", 1, 25, "quiet", [], None

    @staticmethod
    def tick():
        pass


def kvm_boots(kernel):
    """/dev/kvm may exist and still not boot a stock kernel (nested virtualisation), so it is tried, once per boot of the host."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        key = file.read().strip() + " " + subprocess.run([QEMU, "--version"], text=True, check=True,
                                                         stdout=subprocess.PIPE).stdout.splitlines()[0]
    path = os.path.join(cache.root(), "acceleration.json")
    with contextlib.suppress(FileNotFoundError, ValueError), open(path, encoding="utf-8") as file:
        known = json.load(file)
        if known["key"] == key:
            return known["kvm"]
    with tempfile.NamedTemporaryFile(prefix="vmtest-") as console:
        result = boot(kernel, "exit 0\n", Probe, [lambda data: None] * 2, console.name, ["-accel", "kvm"])
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({"key": key, "kvm": result.status == 0, "why": result.why}, file)
    os.rename(path + ".new", path)
    return result.status == 0


def acceleration(kernel, count_instructions):
    if not count_instructions and os.environ.get("MOAT_VM_ACCEL", "kvm") != "tcg" and kvm_boots(kernel):
        return ["-accel", "kvm"]
    # Translated code has to be thrown away less often than with the default size.
    # One thread for all processors: with a thread for each, code that the guest's kernel patches while another processor
    # runs it (static keys, BPF trampolines) is seen there too late now and then, and the guest dies of "Oops: int3".
    emulation = ["-accel", "tcg,thread=single,tb-size=512"]
    # A nanosecond of the guest's for each instruction; when all its processors sleep, time jumps.
    counting = ["-icount", "shift=0,sleep=off"]
    # After cmpxchg16b QEMU 7.2 has garbage in the flags; in this mode an interrupt can come right there, and the guest
    # double-faults. Older kernels do without; from 7.0 on task storage cannot be allocated without (kmalloc_nolock).
    if int(kernel["release"].split(".")[0]) < 7:
        counting += ["-global", "max-x86_64-cpu.cx16=off"]
    return emulation + (counting if count_instructions else [])
