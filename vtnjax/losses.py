"""Objectives other than cross-entropy, pure functions."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vtnjax._arrays import check_floating, clamp, everywhere, maximum, widest
from vtnjax._checks import check_at_least_0, check_choice
from vtnjax.ops.candidates import check_temperature

POSITIONS = REDUCTIONS = ("sum", "mean")
_EPSILON = 1e-12
_SHORT = 0.1
# Added to each difference of two descriptors, as the reference code has it.
_BESIDE = 1e-6


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
    activations of a pretrained network. The gradient of the sum grows with the map, and on small networks it drowns the
    task's. For them take the mean over positions, or features of unit length, whose squared distances are at most 4,
    with a margin below 4.

    Args:
        v: (..., h, w, c), the warped features of the anchors.
        positive: (..., h, w, c), the warped features of other images of the anchors' classes.
        negative: (..., h, w, c), the warped features of images of other classes.
        margin: alpha, in squared units of the features.
        positions: "sum" over the positions, as in Eq. 4, or "mean".
        normalise: whether the features are first scaled to unit length at each position. Features shorter than a tenth
            of the map's root mean square length are divided by that tenth, since their direction says nothing.

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

    The loss is [|e(I_n^T) - e(I_m^T)|^2 - |e(I_n^T) - e(I_n^rand)|^2 + margin]_+ over pairs (n, m) of different images:
    the localiser's crop of one image shall be nearer to its crop of another image than to a random crop. The paper's
    SGD draws pairs of all images; here all pairs of a batch count.

    Args:
        localised: (n, d), the encodings e(I^T) of the localiser's crop of each image.
        random: (n, d), the encodings e(I^rand) of a random crop of each image.
        margin: alpha, in squared units of the encodings.
        reduction: "sum" over the n (n - 1) pairs, as in Eq. 8, or "mean".
        detach_partner: whether no gradient goes to e(I_m^T). In the paper it does, and all crops can become alike by
            showing nothing: an empty crop n draws the crop m to emptiness too. Detached, n alone is drawn to m.

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


def contrastive_loss(
    query: Float[ArrayLike, "n d"],
    positive: Float[ArrayLike, "n d"],
    negatives: Float[ArrayLike, "n k d"],
    *,
    margin: float = 0.7,
    reduction: str = "sum",
) -> Float[Array, ""]:
    """Draws a query to its positive and pushes negatives away, up to a margin (Hadsell 2006; Radenovic 2018).

    A tuple's loss is |q - p|^2 / 2 plus the sum over its negatives of [margin - |q - n|]_+^2 / 2. As in the reference
    code 1e-6 is added to each difference before its length is taken, so a negative that equals its query is pushed
    along the diagonal; a difference whose length is 0 all the same has no gradient.

    Args:
        query: (n, d), the descriptors of the queries, of length 1.
        positive: (n, d), those of an image that shows the same, for each query.
        negatives: (n, k, d), those of images that show something else.
        margin: the distance beyond which a negative counts nothing. The reference code has 0.7 unless said, and 0.85
            for its ResNet-101 with GeM.
        reduction: "sum" over the tuples, as in the reference code, or "mean".

    Returns:
        A scalar, at least float32.

    Raises:
        ValueError: if the shapes are not those above, a dtype is not floating, `reduction` is unknown or the margin is
            negative.
    """
    q, p, n = _tuples(query, positive, negatives, margin, reduction)
    squared = _squared_distance(q[:, None] + _BESIDE, n)  # (n, k)
    apart = squared > 0
    away = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)
    of_tuples = _squared_distance(q + _BESIDE, p) / 2 + (jax.nn.relu(margin - away) ** 2).sum(1) / 2
    return of_tuples.sum() if reduction == "sum" else of_tuples.mean()


def triplet_loss(
    query: Float[ArrayLike, "n d"],
    positive: Float[ArrayLike, "n d"],
    negatives: Float[ArrayLike, "n k d"],
    *,
    margin: float = 0.1,
    reduction: str = "sum",
) -> Float[Array, ""]:
    """A query shall be nearer to its positive than to each negative: [|q - p|^2 - |q - n|^2 + margin]_+ (Gordo 2017).

    A tuple's loss is the sum over its negatives. Distances are squared; the paper has half of this, the reference code
    of Radenovic (2018) has not.

    Args:
        query: (n, d), of length 1, as of `contrastive_loss`.
        positive: (n, d), likewise.
        negatives: (n, k, d), likewise.
        margin: by how much nearer, in squared units. The paper has 0.1, the reference code 0.5 with a whitening layer.
        reduction: "sum" over the tuples, as in the reference code, or "mean".

    Returns:
        A scalar, at least float32.

    Raises:
        ValueError: if the shapes are not those above, a dtype is not floating, `reduction` is unknown or the margin is
            negative.
    """
    q, p, n = _tuples(query, positive, negatives, margin, reduction)
    hinges = jax.nn.relu(_squared_distance(q, p)[:, None] - _squared_distance(q[:, None], n) + margin)  # (n, k)
    of_tuples = hinges.sum(1)
    return of_tuples.sum() if reduction == "sum" else of_tuples.mean()


def _tuples(query, positive, negatives, margin, reduction):
    """The three kinds of descriptors in one dtype, checked."""
    found = {"query": jnp.asarray(query), "positive": jnp.asarray(positive), "negatives": jnp.asarray(negatives)}
    check_choice("reduction", reduction, REDUCTIONS)
    for name, array in found.items():
        check_floating(name, array)
    q, p, n = found.values()
    if q.ndim != 2 or q.shape[0] == 0 or p.shape != q.shape:
        raise ValueError(f"query and positive must have the same shape (n, d), not {q.shape} and {p.shape}")
    if n.ndim != 3 or (n.shape[0], n.shape[2]) != q.shape:
        raise ValueError(
            f"negatives must have the shape ({q.shape[0]}, k, {q.shape[1]}), k for each query, but their shape is "
            f"{n.shape}"
        )
    check_at_least_0("margin", margin)
    dtype = widest(jnp.float32, q.dtype, p.dtype, n.dtype)
    return q.astype(dtype), p.astype(dtype), n.astype(dtype)


def soft_cross_entropy(
    student: Float[ArrayLike, "*batch classes"],
    teacher: Float[ArrayLike, "*batch classes"],
    *,
    temperature: float = 10.0,
    detach_teacher: bool = False,
) -> Float[Array, ""]:
    """The cross-entropy of a student's softened probabilities with a teacher's (TASN Eq. 6-7).

    Neither the paper nor the reference implementation multiplies it by the squared temperature. Its gradient is
    therefore smaller than a plain cross-entropy's, about by that factor.

    Args:
        student: (..., classes), the student's logits.
        teacher: (..., classes), the teacher's logits.
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


def location_loss(predicted: Float[ArrayLike, "n r r"], places: Int[ArrayLike, "n r r"]) -> Float[Array, ""]:
    """The mean absolute error of where each region of a shuffled image came from (DCL's reference code).

    Regions are numbered row by row from 0 to r r - 1. A number p is (p - (r r - 1) / 2) / (r r), between -1/2 and 1/2,
    and is predicted by the hyperbolic tangent. The paper has two coordinates of each region and rectified predictions.

    Args:
        predicted: (n, r, r), before the tangent.
        places: (n, r, r), whole, the number of the place that each region came from, see `distort.shuffle_regions`.

    Returns:
        A scalar, the mean over regions and batch, at least float32.

    Raises:
        ValueError: if the shapes differ or are not (n, r, r), or `predicted` is not floating or `places` not whole.
    """
    predicted, places = jnp.asarray(predicted), jnp.asarray(places)
    check_floating("predicted", predicted)
    if not jnp.issubdtype(places.dtype, jnp.integer):
        raise ValueError(f"places must be whole numbers, but their dtype is {places.dtype}")
    if predicted.ndim != 3 or predicted.shape[1] != predicted.shape[2] or predicted.shape != places.shape:
        raise ValueError(
            f"predicted and places must have the same shape (n, r, r), not {predicted.shape} and {places.shape}"
        )
    dtype, count = widest(jnp.float32, predicted.dtype), predicted.shape[1] ** 2
    target = (places.astype(dtype) - (count - 1) / 2) / count
    return jnp.abs(jnp.tanh(predicted.astype(dtype)) - target).mean()


def draw_triplets(key: PRNGKeyArray, labels: Int[Array, "n"]) -> tuple[Int[Array, "n"], Int[Array, "n"]]:
    """Draw, for each image of a batch, another image of its class and one of another class, uniformly.

    Args:
        key: JAX's random key.
        labels: (n,), the class of each image.

    Returns:
        Indices (n,), int32, of the positives and of the negatives. An image alone in its class is its own positive, and
        an image of the only class is its own negative; its distance to itself is 0.
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
    """Squared distances of all rows of x and y by one product, less x's mean, whose square would cost digits."""
    middle = jax.lax.stop_gradient(x.mean(0, keepdims=True))
    x, y = x - middle, y - middle
    squared = jnp.sum(x**2, axis=-1)[:, None] + jnp.sum(y**2, axis=-1)[None, :]
    return clamp(squared - 2 * jnp.matmul(x, y.T, precision="highest"), 0, jnp.inf)


def _unit(x):
    squared = jnp.sum(x**2, axis=-1, keepdims=True)
    # Rectified features are all but zero at many positions, where the slope of x / |x| would drown all others.
    floor = _SHORT**2 * squared.mean((-3, -2), keepdims=True)
    return x * jax.lax.rsqrt(maximum(squared, clamp(floor, _EPSILON, jnp.inf)))
