"""mAP and mP@k of the revisited benchmarks against a curve that is integrated, and by hand."""

import numpy as np
import pytest

from vtnjax import evaluate

TRUTH = {"easy": [0, 1], "hard": [2], "junk": [3]}


def integrated(row, right, junk):
    """The area under the precision-recall curve, by NumPy."""
    precision, recall, hits, seen = [1.0], [0.0], 0, 0
    for image in row:
        if image in junk:
            continue
        seen += 1
        if image in right:
            # A trapezoid from the precision just before this image, which the first place has none of.
            precision += [hits / (seen - 1) if seen > 1 else 1.0]
            recall += [hits / len(right)]
            hits += 1
            precision += [hits / seen]
            recall += [hits / len(right)]
    return np.trapezoid(precision, recall)


def precision_at(row, right, junk, k):
    kept = [image for image in row if image not in junk]
    k = min(k, 1 + max(kept.index(image) for image in right))
    return sum(image in right for image in kept[:k]) / k


@pytest.mark.parametrize("protocol", ["easy", "medium", "hard"])
def test_figures_are_those_of_a_loop(protocol):
    rng = np.random.default_rng(0)
    truths, rows, areas, precisions = [], [], [], {1: [], 3: [], 10: []}
    for _ in range(20):
        kinds = rng.choice(4, 40, p=[0.1, 0.1, 0.1, 0.7])
        truth = {name: np.flatnonzero(kinds == k).tolist() for k, name in enumerate(("easy", "hard", "junk"))}
        truths.append(truth)
        rows.append(rng.permutation(40))
        chosen = {"easy": ["easy"], "medium": ["easy", "hard"], "hard": ["hard"]}[protocol]
        right = [image for name in chosen for image in truth[name]]
        junk = [image for name in ("easy", "hard", "junk") if name not in chosen for image in truth[name]]
        if right:
            areas.append(integrated(rows[-1], right, junk))
            for k, found in precisions.items():
                found.append(precision_at(rows[-1], right, junk, k))
    figures = evaluate.revisited(np.stack(rows), truths, protocol=protocol, ks=(1, 3, 10))
    expected = {"map": np.mean(areas), **{f"mp_at_{k}": np.mean(found) for k, found in precisions.items()}}
    assert figures == pytest.approx(expected, rel=1e-12)


def test_by_hand():
    row = np.array([[3, 4, 0, 2, 1]])  # junk, wrong, easy, hard, easy
    # Of the two easy images, behind 4 and, as the hard one is out, behind it: (0 + 1/2) / 2 and (1/2 + 2/3) / 2.
    assert evaluate.revisited(row, [TRUTH], protocol="easy") == pytest.approx(
        {"map": (0.25 + 7 / 12) / 2, "mp_at_1": 0.0, "mp_at_5": 2 / 3, "mp_at_10": 2 / 3}
    )
    assert evaluate.revisited(row, [TRUTH], protocol="hard", ks=(1,)) == pytest.approx({"map": 0.25, "mp_at_1": 0.0})


def test_a_query_without_right_images_counts_nowhere():
    nothing = {"easy": [], "hard": [1], "junk": []}
    rows = np.array([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])
    assert evaluate.revisited(rows, [TRUTH, nothing], protocol="easy")["map"] == 1
    with pytest.raises(ValueError, match="ground_truth must have a query with right images by the protocol 'easy'"):
        evaluate.revisited(rows[1:], [nothing], protocol="easy")


ROWS = np.array([[0, 1, 2, 3, 4]])
BAD = {
    "protocol": (lambda: evaluate.revisited(ROWS, [TRUTH], protocol="all"), "protocol must be"),
    "rows": (
        lambda: evaluate.revisited(ROWS, [TRUTH, TRUTH], protocol="easy"),
        "ranking must have a row for each",
    ),
    "twice": (
        lambda: evaluate.revisited(np.array([[0, 1, 1, 3, 4]]), [TRUTH], protocol="easy"),
        "row 0 of ranking must hold each of the 5 images once",
    ),
    "index": (
        lambda: evaluate.revisited(ROWS, [{**TRUTH, "junk": [5]}], protocol="easy"),
        "query 0 of ground_truth must have indices of the 5 images, but has 5",
    ),
    "key": (
        lambda: evaluate.revisited(ROWS, [{"easy": [0], "hard": []}], protocol="easy"),
        "query 0 of ground_truth must have the images that are 'junk', but lacks them",
    ),
    "k": (lambda: evaluate.revisited(ROWS, [TRUTH], protocol="easy", ks=(0,)), "ks must be a whole number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_get_a_sentence(name):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        call()
