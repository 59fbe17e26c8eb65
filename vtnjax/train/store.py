"""The place of a run: a folder of this machine, or a place in a bucket, by `gs://` or `s3://`."""

import importlib
import os
import re
import shutil

from etils import epath

# For each scheme the name that fsspec has for it, the package that reads it, and our extra that installs that.
_STORES = {"gs": ("gcs", "gcsfs", "gcs"), "s3": ("s3", "s3fs", "s3")}


def find_workdir(place: epath.PathLike) -> epath.Path:
    """The path of a workdir: `~` is the home folder; `gs://BUCKET/...` and `s3://BUCKET/...` are places in a bucket.

    Raises:
        ValueError: if the scheme is another one, names no bucket, or what reads it is not installed.
    """
    text = os.fspath(place)
    url = re.match(r"(\w[\w+.-]+):(/+)([^/]*)", text)  # of one slash too, which pathlib makes of two
    if url is None:
        return epath.Path(text).expanduser()
    scheme, slashes, bucket = url.groups()
    if scheme not in _STORES or slashes != "//" or not bucket:
        raise ValueError(f"a workdir must be a folder, gs://BUCKET/... or s3://BUCKET/..., not {text!r}")
    _check_installed(scheme)
    return epath.Path(text.rstrip("/"))


def is_store(path: epath.PathLike) -> bool:
    """Whether the path is a place in a bucket."""
    return "://" in os.fspath(path)


def write_whole(path: epath.Path, content: bytes) -> None:
    """Write a file, whole or not at all; its folder must exist."""
    if is_store(path):  # which puts an object in place when it has all of it
        path.write_bytes(content)
    else:
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(content)
        partial.replace(path)


def copy_file(source: epath.Path, target: epath.Path) -> None:
    """Copy a file from or to a bucket, of whatever size, and make the folder it goes to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("wb") as write:
        shutil.copyfileobj(read, write, 2**24)


def files_below(folder: epath.Path) -> list[epath.Path]:
    """All files in a folder and its folders, or the file itself where the path is one."""
    if not folder.is_dir():
        return [folder] if folder.exists() else []
    # A bucket may list the folder itself among what it holds.
    return [file for path in folder.iterdir() if path != folder for file in files_below(path)]


def _check_installed(scheme: str) -> None:
    name, package, extra = _STORES[scheme]
    # With TensorFlow installed, for other purposes, epath would use that, which cannot read s3://.
    os.environ.setdefault("EPATH_USE_TF", "false")
    try:
        importlib.import_module("fsspec").get_filesystem_class(name)
    except ImportError:
        raise ValueError(f'a workdir on {scheme}:// needs {package}: pip install "vtnjax[{extra}]"') from None
