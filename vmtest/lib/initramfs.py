# SPDX-License-Identifier: Apache-2.0
"""The initramfs: virtme-ng's, with what the root of the guest needs, plus this folder's own /init and one run's settings.

A later cpio archive overrides an earlier one, so the part that depends only on the kernel is made once, when it is fetched.
"""

import io
import lzma
import os
import shlex
import shutil
import sys
import tempfile

import cache

# What it takes to see the host's root and to speak with the host. Everything else is loaded on demand from there.
MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"]


def virtme():
    """virtme-ng's own modules, from the cache."""
    path = os.path.join(cache.tools_dir(), "python")
    if path not in sys.path:
        sys.path.insert(0, path)
    # pylint: disable=import-outside-toplevel,import-error
    from virtme import cpiowriter, mkinitramfs, modfinder
    return cpiowriter, mkinitramfs, modfinder


def unpacked(module, directory):
    """busybox's insmod wants modules uncompressed."""
    if module.endswith(".ko"):
        return module
    if not module.endswith(".xz"):
        raise cache.Failure(f"{module}: compressed in a way that is not known here (vmtest/lib/initramfs.py)")
    path = os.path.join(directory, os.path.basename(module)[:-len(".xz")])
    with lzma.open(module) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)
    return path


def build_base(directory, release):
    """Writes directory/initramfs for the kernel unpacked there."""
    _, mkinitramfs, modfinder = virtme()
    os.environ["PATH"] = cache.search_path()
    modules = modfinder.find_modules_from_install(MODULES, root=directory, kver=release)
    if not any("9pnet_virtio" in module for module in modules):
        raise cache.Failure(f"kernel {release}: no 9p among its modules, so it cannot see the host's files (a cloud flavour?)")
    config = mkinitramfs.Config()
    config.busybox = os.path.join(cache.tools_dir(), "busybox")
    with tempfile.TemporaryDirectory() as scratch, open(os.path.join(directory, "initramfs"), "wb") as out:
        config.modfiles = [unpacked(module, scratch) for module in modules]
        mkinitramfs.mkinitramfs(out, config)


def overlay(settings, command):
    """The archive with /init, its settings ({name: str}) and the command, a shell script."""
    cpiowriter, _, _ = virtme()
    out = io.BytesIO()
    writer = cpiowriter.CpioWriter(out)
    writer.mkdir(b"vmtest", 0o755)
    for name, target in (("guest-init", b"init"), ("guest-command", b"vmtest/guest-command")):
        with open(os.path.join(cache.HERE, name), "rb") as file:
            writer.write_file(target, file.read(), 0o755)
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    writer.write_file(b"vmtest/settings", lines.encode(), 0o644)
    writer.write_file(b"vmtest/command", command.encode(), 0o755)
    writer.write_trailer()
    return out.getvalue()
