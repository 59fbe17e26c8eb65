"""A folder that stands for the buckets of gs:// and s3://, with what they cannot do; `VTNJAX_TEST_BUCKETS` names it."""

import os

import fsspec
from fsspec.implementations.local import LocalFileSystem

ROOT = "VTNJAX_TEST_BUCKETS"


class Bucket(LocalFileSystem):
    """Objects have no folders but in their names, and are never added to."""

    protocol = ("gs", "gcs", "s3")
    cachable = False

    @classmethod
    def _strip_protocol(cls, path):
        path = os.fspath(path)
        root = os.environ[ROOT]
        scheme, colon, rest = path.partition("://")
        path = os.path.join(root, scheme, rest) if colon else path
        assert path.startswith(root), f"{path} is not in a bucket"
        return path.rstrip("/")

    def mkdir(self, path, create_parents=True, **_):
        pass

    def makedirs(self, path, exist_ok=False):
        pass

    def isdir(self, path):
        return any(files for _, _, files in os.walk(self._strip_protocol(path)))

    def exists(self, path, **_):
        return os.path.isfile(self._strip_protocol(path)) or self.isdir(path)

    def _open(self, path, mode="rb", **options):
        if "a" in mode or "+" in mode:
            raise NotImplementedError("an object cannot be added to")
        if "w" in mode:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        return super()._open(path, mode, **options)


def stand_in() -> None:
    """From now on this process's buckets are folders."""
    for name in Bucket.protocol:
        fsspec.register_implementation(name, Bucket, clobber=True)
