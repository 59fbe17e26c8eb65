"""The data sets of the tensorflow_datasets catalogue, read without TensorFlow."""

import functools
from typing import Any

import numpy as np

from vtnjax._checks import nearest
from vtnjax.data.decode import decode_image
from vtnjax.data.records import Record, check_labels


class Catalogue:
    """An image classification set of tensorflow_datasets, prepared beforehand in the array_record format.

    Attributes:
        classes: The names of the labels.
    """

    def __init__(self, name: str, data_dir: str | None, split: str):
        """Opens a prepared set.

        Args:
            name: The name of the set in the catalogue, such as "caltech_birds2011", "emnist/letters" or "mnist:3.0.1".
            data_dir: The folder it was prepared in; None is tensorflow_datasets' own default.
            split: The split, such as "train", "test" or "train[:80%]".

        Raises:
            ValueError: If there is no such set or split, it was prepared in another format, or it is not an image
                classification set.
            FileNotFoundError: If the set is not prepared; the sentence holds the command that does it.
        """
        # Here, because the import is slow and prints, which only a user of the catalogue should bear.
        import tensorflow_datasets as tfds

        self._name, self._split = name, split
        builder = _builder(name, data_dir)
        _check_prepared(builder, name, data_dir)
        features = builder.info.features
        _check_features(features, name)
        images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
        # No image is decoded here: `decode_image` shows it as a person sees it, and masks are not wanted.
        decoders = {key: tfds.decode.SkipDecoding() for key in images}
        self._records = builder.as_data_source(split=split, decoders=decoders)
        self._features = dict(features)
        self._channels = 1 if features["image"].shape[-1] == 1 else 3
        self.classes: tuple[str, ...] = tuple(features["label"].names)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be from {-len(self)} to {len(self) - 1} in {self!r}, not {index}")
        index %= len(self)
        record = self._records[index]
        label = int(record["label"])
        check_labels(np.array([label]), self.classes, first=index)
        try:
            image = decode_image(record["image"], channels=self._channels)
        except ValueError as error:
            raise ValueError(f"record {index} of {self!r} cannot be decoded ({error})") from error
        return {"image": image, "label": label}

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int32 (n,), in the order of the records: every record is read when they are first asked for, none decoded."""
        labels = np.array([record["label"] for record in self._records], np.int32)
        check_labels(labels, self.classes)
        return labels

    @functools.cached_property
    def boxes(self) -> np.ndarray | None:
        """float32 (n, 4), the left, top, right and bottom edge of the feature "bbox" in pixels; None without it.

        The set keeps fractions of the picture's size, so every picture is decoded when they are first asked for.
        """
        import tensorflow_datasets as tfds

        if not isinstance(self._features.get("bbox"), tfds.features.BBoxFeature):
            return None
        top, left, bottom, right = np.array([record["bbox"] for record in self._records], np.float32).T
        height, width = np.array([self[index]["image"].shape[:2] for index in range(len(self))], np.float32).T
        return np.stack([left * width, top * height, right * width, bottom * height], axis=1)

    def __repr__(self) -> str:
        return f"Catalogue({self._name!r}, {self._split!r})"


def _builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        hint = nearest(name, tfds.list_builders(with_community_datasets=False))
        raise ValueError(
            f"name must be a set of tensorflow_datasets or one in data_dir {data_dir}, not {name!r}{hint}"
        ) from error


def _check_prepared(builder: Any, name: str, data_dir: str | None) -> None:
    where = f", data_dir={data_dir!r}" if data_dir else ""
    command = (
        f'pip install "vtnjax[prepare]" && python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder({name!r}{where}, file_format='array_record').download_and_prepare()\""
    )
    if not builder.is_prepared():
        raise FileNotFoundError(f"{name!r} must be prepared in {builder.data_path}, but is not: run {command}")
    file_format = builder.info.file_format.value
    if file_format != "array_record":
        raise ValueError(
            f"{builder.data_path} must be in the array_record format, which is read without TensorFlow, not "
            f"{file_format}: remove it and run {command}"
        )


def _check_features(features: Any, name: str) -> None:
    import tensorflow_datasets as tfds

    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    # Some sets hold one value instead of a dictionary.
    found = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    if not all(isinstance(found.get(key), kind) for key, kind in kinds.items()):
        holds = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in found.items()) or repr(features)
        raise ValueError(f"{name!r} must have the features image (Image) and label (ClassLabel), not {holds}")
