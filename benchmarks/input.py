"""Does training wait for its input? The pipeline's images per second beside the step's appetite, and both together.

    python benchmarks/input.py

prints a table for the digits' networks and writes results/input-<platform>.json.

    python benchmarks/input.py --photos

is about photographs: JPEG files of 500 x 375 decoded and augmented to 448 x 448 by two threads, beside tf.data doing
the same where TensorFlow is installed (pip install tensorflow-cpu); it writes results/input-photos-<platform>.json.
"""

import argparse
import collections
import functools
import itertools
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from saving import save

from vtnjax import recipes, train
from vtnjax.data import Folder, decode_image, photo_augment, train_batches

CONFIGS = Path(__file__).parent.parent / "configs"


def load_config(name: str, variant: str) -> Any:
    """A config by its file's name."""
    return runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](variant)


def rate(batch_size: int, steps: int, work: Callable[[], Any]) -> float:
    """Images per second of `steps` batches."""
    began = time.perf_counter()
    work()
    return steps * batch_size / (time.perf_counter() - began)


def measure(variant: str, steps: int) -> dict[str, float]:
    """Images per second of the input alone, of the step alone, of both, and the share of time spent waiting."""
    config = load_config("digits_stn", variant)
    recipe = recipes.read_recipe(config)
    mesh, optimiser = train.data_mesh(), train.make_optimiser(config)
    graphdef, state = train.create_state(recipe.network(0), optimiser, 0)
    state = jax.device_put(state, train.replicated(mesh))

    def batches() -> Iterator[Any]:
        return train.to_devices(recipe.batches(0), mesh)

    step = jax.jit(train.make_train_step(graphdef, optimiser, recipe.prepare, recipe.objective))
    batch = next(batches())
    jax.block_until_ready(step(state, batch))
    waited = 0.0

    def feed(count: int, stream: Iterator[Any] | None) -> None:
        nonlocal waited
        now, before = state, None
        for _ in range(count):
            began = time.perf_counter()
            item = batch if stream is None else next(stream)
            if before is None or before["loss"].is_ready():  # otherwise a step was under way all the while
                waited += time.perf_counter() - began
            now, metrics = step(now, item)
            jax.block_until_ready(before)  # at most two steps under way, as the loop keeps it
            before = metrics
        jax.block_until_ready(now)

    stream = batches()
    next(stream)
    alone = rate(config.batch_size, steps, lambda: list(itertools.islice(stream, steps)))
    appetite = rate(config.batch_size, steps, lambda: feed(steps, None))
    waited, began = 0.0, time.perf_counter()
    together = rate(config.batch_size, steps, lambda: feed(steps, batches()))
    share = waited / (time.perf_counter() - began)
    return {"input": alone, "step": appetite, "together": together, "waiting": share}


# ---- Photographs

_BATCH, _THREADS, _FILES = 32, 2, 320
_SIZE, _CROP, _ROTATION = 512, 448, 15.0


def write_photos(directory: Path) -> int:
    """Noise with a photograph's spectrum, 500 x 375, in two classes; the mean number of bytes of a file."""
    rng, sizes = np.random.default_rng(0), []
    for number in range(_FILES):
        image = np.zeros((375, 500, 3), np.float32)
        for octave in range(2, 9):
            noise = rng.normal(size=(3 * 2**octave // 4, 2**octave, 3)).astype(np.float32)
            image += cv2.resize(noise, (500, 375), interpolation=cv2.INTER_CUBIC) * 0.62**octave
        image = np.clip(127 + 55 * image / image.std(), 0, 255).astype(np.uint8)
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        path = directory / "train" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        sizes.append(len(data))
    return round(statistics.mean(sizes))


def our_photos(directory: Path) -> dict[str, Callable[[], Iterator[Any]]]:
    """Batches by this library, without and with turning."""
    source = Folder(directory, "train")
    augments = {
        "resize, crop, flip": photo_augment(size=_SIZE, crop=_CROP, rotation=0.0),
        "resize, rotate, crop, flip": photo_augment(size=_SIZE, crop=_CROP, rotation=_ROTATION),
    }
    return {
        name: functools.partial(
            train_batches, source, batch_size=_BATCH, seed=0, augment=augment, threads=_THREADS, prefetch=4
        )
        for name, augment in augments.items()
    }


def tensorflow_photos(directory: Path) -> dict[str, Callable[[], Iterator[Any]]]:
    """The same by tf.data: the first by TensorFlow's own resizing, the second by one projective warp as ours."""
    import tensorflow as tf  # type: ignore

    paths = sorted(str(path) for path in (directory / "train").rglob("*.jpg"))
    uniform = tf.random.uniform

    def decode(path):
        return tf.io.decode_jpeg(tf.io.read_file(path), channels=3)

    def resize(path):
        image = tf.image.resize(decode(path), (_SIZE, _SIZE))
        image = tf.image.random_crop(image, (_CROP, _CROP, 3))
        return tf.cast(tf.image.random_flip_left_right(image), tf.uint8)

    def warp(path):
        image = decode(path)
        shape = tf.cast(tf.shape(image)[:2], tf.float32)
        x_scale, y_scale = shape[1] / _SIZE, shape[0] / _SIZE
        angle = uniform((), -_ROTATION, _ROTATION) * (np.pi / 180)
        sign = tf.where(uniform(()) < 0.5, -1.0, 1.0)
        corner = tf.floor(uniform((2,), 0, _SIZE - _CROP + 1)) - _SIZE / 2
        cos, sin = tf.cos(angle), tf.sin(angle)
        left, top = corner[0] + (1 - sign) * _CROP / 2, corner[1]
        matrix = [
            x_scale * cos * sign,
            -x_scale * sin,
            x_scale * (cos * left - sin * top + _SIZE / 2),
            y_scale * sin * sign,
            y_scale * cos,
            y_scale * (sin * left + cos * top + _SIZE / 2),
            0.0,
            0.0,
        ]
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None],
            transforms=tf.stack(matrix)[None],
            output_shape=(_CROP, _CROP),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )[0]

    def batches(augment) -> Iterator[Any]:
        options = tf.data.Options()
        options.threading.private_threadpool_size = _THREADS
        dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=0).repeat()
        dataset = dataset.map(augment, num_parallel_calls=_THREADS).batch(_BATCH).prefetch(4).with_options(options)
        return iter(dataset.as_numpy_iterator())

    names = ("resize, crop, flip", "resize, rotate, crop, flip")
    return {name: functools.partial(batches, augment) for name, augment in zip(names, (resize, warp), strict=True)}


def measure_photos(rounds: int, batches: int) -> tuple[list[dict[str, Any]], int]:
    """Images per second of each way, the median of rounds in turn, and the mean number of bytes of a file."""
    with tempfile.TemporaryDirectory() as name:
        size = write_photos(Path(name))
        streams = {"vtnjax": our_photos(Path(name))}
        try:
            streams["tf.data"] = tensorflow_photos(Path(name))
        except ImportError:
            print("tf.data is left out, because TensorFlow is not installed: pip install tensorflow-cpu")
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(rounds):
            for library, works in streams.items():
                for work, start in works.items():
                    stream = start()
                    collections.deque(itertools.islice(stream, 8), maxlen=0)
                    taken = rate(
                        _BATCH,
                        batches,
                        lambda stream=stream: collections.deque(itertools.islice(stream, batches), maxlen=0),
                    )
                    found.setdefault((library, work), []).append(taken)
                    time.sleep(1)  # it goes on till its buffer is full
        found["OpenCV, one thread", "decode"] = [decode_rate(Path(name))]
    results = [
        {"library": library, "work": work, "images_per_second": statistics.median(rates), "rounds": rates}
        for (library, work), rates in found.items()
    ]
    return results, size


def decode_rate(directory: Path) -> float:
    """Images per second of decoding alone, in one thread."""
    files = [path.read_bytes() for path in directory.rglob("*.jpg")]
    return rate(len(files), 1, lambda: [decode_image(data) for data in files])


def photos_main(steps: int) -> None:
    began = time.perf_counter()
    train.keep_freed_memory()  # as train.py does
    results, size = measure_photos(rounds=3, batches=max(steps // 16, 1))
    print("| library | work | images/s |\n|---|---|---|")
    for row in results:
        print(f"| {row['library']} | {row['work']} | {row['images_per_second']:,.0f} |")
    figures = {"bytes_per_file": size, "threads": _THREADS, "results": results}
    packages = ["opencv-python-headless", "grain", "tensorflow-cpu"]
    command, seconds = f"python benchmarks/input.py --photos --steps {steps}", time.perf_counter() - began
    save("input-photos", command, seconds=seconds, figures=figures, packages=packages)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="batches of a measurement (default 200; photos fewer)")
    parser.add_argument("--photos", action="store_true", help="measure the decoding and augmenting of photographs")
    arguments = parser.parse_args()
    if arguments.photos:
        photos_main(arguments.steps)
    else:
        digits_main(arguments.steps)


def digits_main(steps: int) -> None:
    print("| network | input images/s | step images/s | together images/s | waiting for input |\n|---|---|---|---|---|")
    began, results = time.perf_counter(), []
    for model in ("st_fcn", "fcn", "st_cnn", "cnn"):
        figures = measure(f"model={model}", steps if model.endswith("fcn") else max(steps // 10, 5))
        results.append({"config": "digits_stn", "model": model, **figures})
        print(
            f"| {model} | {figures['input']:,.0f} | {figures['step']:,.0f} | {figures['together']:,.0f} | "
            f"{100 * figures['waiting']:.1f} % |",
            flush=True,
        )
    command, seconds = f"python benchmarks/input.py --steps {steps}", time.perf_counter() - began
    save("input", command, seconds=seconds, figures={"results": results})


if __name__ == "__main__":
    main()
