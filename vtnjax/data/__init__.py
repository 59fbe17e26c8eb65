"""Sources of labelled images and the batches made of them. NumPy only: nothing here imports JAX or TensorFlow."""

from vtnjax._checks import needing

with needing("train", room=__name__):
    from vtnjax.data.aircraft import Aircraft
    from vtnjax.data.augment import photo_augment, photo_test
    from vtnjax.data.balanced import balanced_batches
    from vtnjax.data.benchmark import Benchmark, ImageList, load_benchmark
    from vtnjax.data.cars import Cars
    from vtnjax.data.catalogue import Catalogue
    from vtnjax.data.composites import Composites
    from vtnjax.data.cub import Cub
    from vtnjax.data.decode import decode_image
    from vtnjax.data.digits import Digits
    from vtnjax.data.drawn import write_drawn
    from vtnjax.data.drawn_landmarks import write_landmarks
    from vtnjax.data.drawn_numbers import write_house_numbers
    from vtnjax.data.drawn_stamps import write_stamps
    from vtnjax.data.folder import Folder
    from vtnjax.data.generated import Generated
    from vtnjax.data.hidden_digits import HiddenDigits
    from vtnjax.data.house_numbers import HouseNumbers
    from vtnjax.data.idx import Idx
    from vtnjax.data.inaturalist import INaturalist2017
    from vtnjax.data.landmark_tuples import LandmarkTuples, write_landmark_tuples
    from vtnjax.data.pipeline import Augment, eval_batches, train_batches
    from vtnjax.data.records import Arrays, LabelledSource, Mapped, Record, Source, check_labels
    from vtnjax.data.revisited import Revisited, read_revisited
    from vtnjax.data.revisited_benchmark import RevisitedBenchmark
    from vtnjax.data.scene_benchmark import SceneBenchmark
    from vtnjax.data.scenes import Scenes
    from vtnjax.data.solar import SolarCells
    from vtnjax.data.sources import load_source
    from vtnjax.data.stamps import Stamps
    from vtnjax.data.stored import Stored
    from vtnjax.data.triplets import WithTriplets
    from vtnjax.data.tuples import TupleBatches, hard_negatives
    from vtnjax.data.two_digits import TwoDigits
    from vtnjax.data.unreadable import check_source

__all__ = [
    "Aircraft",
    "Arrays",
    "Augment",
    "Benchmark",
    "Cars",
    "Catalogue",
    "Composites",
    "Cub",
    "Digits",
    "Folder",
    "Generated",
    "HiddenDigits",
    "HouseNumbers",
    "INaturalist2017",
    "Idx",
    "ImageList",
    "LabelledSource",
    "LandmarkTuples",
    "Mapped",
    "Record",
    "Revisited",
    "RevisitedBenchmark",
    "SceneBenchmark",
    "Scenes",
    "SolarCells",
    "Source",
    "Stamps",
    "Stored",
    "TupleBatches",
    "TwoDigits",
    "WithTriplets",
    "balanced_batches",
    "check_labels",
    "check_source",
    "decode_image",
    "eval_batches",
    "hard_negatives",
    "load_benchmark",
    "load_source",
    "photo_augment",
    "photo_test",
    "read_revisited",
    "train_batches",
    "write_drawn",
    "write_house_numbers",
    "write_landmark_tuples",
    "write_landmarks",
    "write_stamps",
]
