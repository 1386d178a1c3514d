"""Files that are written whole or not at all."""

import os
import stat
import sys
import tempfile

__all__ = ["check_writable", "is_regular", "write_whole"]


def is_regular(path):
    """True if ``path`` is, or would become, a regular file: not "-", not a device, pipe or socket."""
    if os.fspath(path) == "-":
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def check_writable(path):
    """Raises OSError, with the remedy, if ``write_whole(path, ...)`` could not work: to be asked before long work."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: got a folder, allowed is a file; add a file name")
    folder = os.path.dirname(os.path.realpath(path))
    if is_regular(path) and not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: the folder {folder} does not exist; create it first")
    if os.fspath(path) != "-" and not os.access(folder if is_regular(path) else path, os.W_OK):
        raise PermissionError(f"{path}: not writable here; choose another file")


def write_whole(path, content):
    """``content`` (bytes, or text as UTF-8) in the file ``path``: a reader sees the old file or the new one, never a part.

    Devices and "-" are written directly. A link is followed: the file it points to is replaced.
    Raises OSError if the folder does not exist or cannot be written.
    """
    data = content if isinstance(content, bytes) else content.encode()
    if os.fspath(path) == "-":
        sys.stdout.write(data.decode())
        sys.stdout.flush()
        return
    check_writable(path)
    if not is_regular(path):
        with open(path, "wb") as file:
            file.write(data)
        return
    path = os.path.realpath(path)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _mode(path):
    """Permissions of the file that is replaced, or those a new file would get."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
