"""Sources of labelled images and the batches made of them. NumPy only: nothing here imports JAX or TensorFlow."""

from vtnjax.data.catalogue import Catalogue
from vtnjax.data.decode import decode_image
from vtnjax.data.digits import Digits
from vtnjax.data.folder import Folder
from vtnjax.data.generated import Generated
from vtnjax.data.idx import Idx
from vtnjax.data.pipeline import Augment, eval_batches, train_batches
from vtnjax.data.records import Arrays, Record, Source, check_labels
from vtnjax.data.sources import load_source

__all__ = [
    "Arrays",
    "Augment",
    "Catalogue",
    "Digits",
    "Folder",
    "Generated",
    "Idx",
    "Record",
    "Source",
    "check_labels",
    "decode_image",
    "eval_batches",
    "load_source",
    "train_batches",
]
