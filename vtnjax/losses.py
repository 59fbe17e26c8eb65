"""Objectives beside cross-entropy, pure functions."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vtnjax._arrays import check_floating, everywhere, widest
from vtnjax._checks import check_choice
from vtnjax.ops.candidates import check_temperature

POSITIONS = REDUCTIONS = ("sum", "mean")
_EPSILON = 1e-12
_SHORT = 0.1


def consistency_loss(
    v: Float[ArrayLike, "*batch h w c"],
    positive: Float[ArrayLike, "*batch h w c"],
    negative: Float[ArrayLike, "*batch h w c"],
    *,
    margin: float,
    positions: str = "sum",
    normalise: bool = False,
) -> Float[Array, ""]:
    """A triplet loss between warped features at each position: [|v - v'|^2 - |v - v''|^2 + margin]_+ (VTN Eq. 4).

    The paper sums over the positions of raw features, with a margin of 20 (VGG) or 30 (ResNet), which suits the large
    activations of a pretrained network. Summed, its gradient grows with the map: on small networks it drowns the
    task's. Then take the mean over positions, or features of unit length, whose squared distances are at most 4 and
    whose margin is below that.

    Args:
        v: (..., h, w, c), the warped features of the anchors.
        positive: the same of other images of the anchors' classes.
        negative: the same of images of other classes.
        margin: alpha, in squared units of the features.
        positions: "sum" over the positions, as Eq. 4, or their "mean".
        normalise: whether the features have unit length at each position first. Those shorter than a tenth of the
            map's root mean square length stay as much shorter: nothing can be told from their direction.

    Returns:
        A scalar, the mean over the batch, at least float32.

    Raises:
        ValueError: if the shapes differ or have fewer than three axes, a dtype is not floating, `positions` is unknown
            or the margin is negative.
    """
    maps = {"v": jnp.asarray(v), "positive": jnp.asarray(positive), "negative": jnp.asarray(negative)}
    check_choice("positions", positions, POSITIONS)
    for name, array in maps.items():
        check_floating(name, array)
        if array.ndim < 3 or array.shape != maps["v"].shape:
            raise ValueError(
                f"{name} must have the shape (..., h, w, c) of v, {maps['v'].shape}, but its shape is {array.shape}"
            )
    if margin < 0:
        raise ValueError(f"margin must be at least 0, not {margin}")
    dtype = widest(jnp.float32, *(array.dtype for array in maps.values()))
    v, positive, negative = (_unit(a.astype(dtype)) if normalise else a.astype(dtype) for a in maps.values())
    hinges = jax.nn.relu(_squared_distance(v, positive) - _squared_distance(v, negative) + margin)  # (..., h, w)
    reduce = jnp.sum if positions == "sum" else jnp.mean
    return reduce(hinges, axis=(-2, -1)).mean()


def colocalisation_loss(
    localised: Float[ArrayLike, "n d"],
    random: Float[ArrayLike, "n d"],
    *,
    margin: float = 1.0,
    reduction: str = "sum",
    detach_partner: bool = False,
) -> Float[Array, ""]:
    """A triplet loss that finds what images have in common, without labels (STN Eq. 8).

    [|e(I_n^T) - e(I_m^T)|^2 - |e(I_n^T) - e(I_n^rand)|^2 + margin]_+ for pairs (n, m) of images, m other than n: what
    the localiser cuts out of one image shall be nearer to what it cuts out of another than to a random crop. The
    paper's SGD draws pairs of all images; here all pairs of a batch count.

    Args:
        localised: (n, d), the encodings e(I^T) of what was cut out of each image.
        random: (n, d), the encodings e(I^rand) of a random crop of each image.
        margin: alpha, in squared units of the encodings.
        reduction: "sum" over the n (n - 1) pairs, as Eq. 8, or their "mean".
        detach_partner: whether no gradient goes to e(I_m^T). In the paper it does, and all crops can become alike by
            showing nothing: where n is empty, the pair draws m to emptiness too. Detached, n alone is drawn to m.

    Returns:
        A scalar, at least float32.

    Raises:
        ValueError: if the shapes are not two equal ones (n, d), n at least 2, a dtype is not floating, `reduction`
            is unknown or the margin is negative.
    """
    encodings = {"localised": jnp.asarray(localised), "random": jnp.asarray(random)}
    check_choice("reduction", reduction, REDUCTIONS)
    for name, array in encodings.items():
        check_floating(name, array)
        if array.ndim != 2 or array.shape[0] < 2 or array.shape != encodings["localised"].shape:
            raise ValueError(
                f"{name} must have the shape (n, d) of localised, {encodings['localised'].shape}, n at least 2, but "
                f"its shape is {array.shape}"
            )
    if margin < 0:
        raise ValueError(f"margin must be at least 0, not {margin}")
    dtype = widest(jnp.float32, *(array.dtype for array in encodings.values()))
    localised, random = (array.astype(dtype) for array in encodings.values())
    partner = jax.lax.stop_gradient(localised) if detach_partner else localised
    away = _squared_distance(localised, random)
    hinges = jax.nn.relu(_squared_distances(localised, everywhere(partner)) - away[:, None] + margin)
    total = jnp.where(jnp.eye(hinges.shape[0], dtype=bool), 0, hinges).sum()
    return total if reduction == "sum" else total / (hinges.shape[0] * (hinges.shape[0] - 1))


def soft_cross_entropy(
    student: Float[ArrayLike, "*batch classes"],
    teacher: Float[ArrayLike, "*batch classes"],
    *,
    temperature: float = 10.0,
    detach_teacher: bool = False,
) -> Float[Array, ""]:
    """The cross-entropy of a student's softened probabilities with a teacher's (TASN Eq. 6-7).

    It is not multiplied by the squared temperature, neither in the paper nor in the reference implementation, so its
    gradient is about that much smaller than a plain cross-entropy's.

    Args:
        student: (..., classes), logits.
        teacher: the same of the teacher.
        temperature: T, above 0.
        detach_teacher: whether no gradient goes to the teacher. In the reference implementation it does.

    Returns:
        A scalar, the mean over the batch, at least float32.

    Raises:
        ValueError: if the shapes differ, a dtype is not floating or the temperature is not positive.
    """
    student, teacher = jnp.asarray(student), jnp.asarray(teacher)
    for name, logits in (("student", student), ("teacher", teacher)):
        check_floating(name, logits)
    if student.ndim == 0 or student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher must have the same shape (..., classes), not {student.shape} and {teacher.shape}"
        )
    check_temperature(temperature)
    dtype = widest(jnp.float32, student.dtype, teacher.dtype)
    if detach_teacher:
        teacher = jax.lax.stop_gradient(teacher)
    target = jax.nn.softmax(teacher.astype(dtype) / temperature)
    return -jnp.sum(target * jax.nn.log_softmax(student.astype(dtype) / temperature), axis=-1).mean()


def draw_triplets(key: PRNGKeyArray, labels: Int[Array, "n"]) -> tuple[Int[Array, "n"], Int[Array, "n"]]:
    """For each image of a batch another image of its class and one of another class, drawn uniformly.

    Args:
        key: JAX's random key.
        labels: (n,), the class of each image.

    Returns:
        Indices (n,), int32, of the positives and of the negatives. An image alone in its class is its own positive,
        and its own negative if there is no other class: the distance to it is 0.
    """
    same = labels[:, None] == labels[None, :]
    itself = jnp.eye(labels.shape[0], dtype=bool)
    keys = jax.random.split(key)
    return _draw(keys[0], same & ~itself), _draw(keys[1], ~same)


def _draw(key, allowed):
    """For each row one of the columns allowed there, or the row's own number."""
    # Not the row itself, unless nothing is allowed: a score below that of any other column.
    scores = jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0)
    scores = jnp.where(jnp.eye(allowed.shape[0], dtype=bool) & ~allowed, -0.5, scores)
    return scores.argmax(axis=1).astype(jnp.int32)


def _squared_distance(a, b):
    return jnp.sum((a - b) ** 2, axis=-1)


def _squared_distances(x, y):
    """Between all rows of x and of y, by one product; from their mean, since what all share would cost digits."""
    middle = jax.lax.stop_gradient(x.mean(0, keepdims=True))
    x, y = x - middle, y - middle
    squared = jnp.sum(x**2, axis=-1)[:, None] + jnp.sum(y**2, axis=-1)[None, :]
    return jnp.maximum(squared - 2 * jnp.matmul(x, y.T, precision="highest"), 0)


def _unit(x):
    squared = jnp.sum(x**2, axis=-1, keepdims=True)
    # Rectified features are all but zero at many positions, where the slope of x / |x| would drown all others.
    floor = _SHORT**2 * squared.mean((-3, -2), keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, jnp.maximum(floor, _EPSILON)))
