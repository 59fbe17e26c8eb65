"""What the warping operators mean, written one output at a time: slow, plain, NumPy in float64.

The formulas are those of the spatial transformer paper (Eq. 1 to 10) and, for what the paper does not say
(borders, bicubic), of the documentation of PyTorch's `grid_sample`.
"""

import math

import numpy as np

# Normalised coordinates: -1 is the centre of the first pixel, 1 that of the last.


def normalised(index, size, align_corners=True):
    if not align_corners:
        return (2 * index + 1) / size - 1
    return 0.0 if size == 1 else -1.0 + 2.0 * index / (size - 1)


def targets(shape, align_corners=True):
    """Yields every output index, (row, column) or (slice, row, column), with its point (x, y) or (x, y, z)."""
    for index in np.ndindex(*shape):
        point = [normalised(i, size, align_corners) for i, size in zip(index, shape, strict=True)]
        yield index, np.array(point[::-1])


def mapped_grid(mapping, shape, align_corners=True):
    grid = np.zeros((*shape, len(shape)))
    for index, point in targets(shape, align_corners):
        grid[index] = mapping(point)
    return grid


def affine_grid(theta, shape, align_corners=True):
    """Eq. 1, and Eq. 10 in three dimensions."""
    return mapped_grid(lambda point: theta @ np.append(point, 1.0), shape, align_corners)


def projective_grid(theta, shape):
    def mapping(point):
        x, y, w = theta @ np.append(point, 1.0)
        return x / w, y / w

    return mapped_grid(mapping, shape)


def pixels(coords, shape, align_corners=True):
    """`shape` is (h, w) or (d, h, w); the last axis of `coords` is (x, y) or (x, y, z)."""
    sizes = np.array(shape[::-1], float)
    return (coords + 1) / 2 * (sizes - 1) if align_corners else ((coords + 1) * sizes - 1) / 2


# Eq. 5 and 9: a hat function for every pixel of the input; pixels outside count zero.


def hat(distance):
    return max(0.0, 1.0 - abs(distance))


def hat_sample(image, coords):
    out = np.zeros((*coords.shape[:-1], image.shape[-1]))
    for index in np.ndindex(*coords.shape[:-1]):
        for source in np.ndindex(*image.shape[:-1]):
            weights = [hat(x - m) for x, m in zip(coords[index], source[::-1], strict=True)]
            out[index] += math.prod(weights) * image[source]
    return out


def hat_slope(x, m):
    """The three cases of Eq. 7."""
    if abs(m - x) >= 1:
        return 0.0
    return 1.0 if m >= x else -1.0


def hat_derivative_x(image, coords):
    """Eq. 7: how each output moves with its own x, at points that are not integers."""
    out = np.zeros((*coords.shape[:-1], image.shape[-1]))
    for index in np.ndindex(*coords.shape[:-1]):
        x, y = coords[index]
        for n, m in np.ndindex(*image.shape[:-1]):
            out[index] += image[n, m] * hat(y - n) * hat_slope(x, m)
    return out


# Every method and padding: along each axis a list of (pixel, weight), whose products weight the pixels.


def reflect(x, size, edges=False):
    """A triangle wave: mirrors at the centres of the border pixels or, with `edges`, at their outer edges."""
    first, last = (-0.5, size - 0.5) if edges else (0.0, size - 1.0)
    if first == last:
        return 0.0
    around = (x - first) % (2 * (last - first))
    return first + min(around, 2 * (last - first) - around)


def inside(x, size, padding, edges):
    """Where a coordinate is read; with zeros it stays where it is."""
    if padding == "reflection":
        x = reflect(x, size, edges)
    return x if padding == "zeros" else min(max(x, 0.0), size - 1.0)


def cubic(distance, a=-0.75):
    """Keys' kernel of four taps."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def taps(x, size, method, padding, edges):
    """Pixels and their weights; a tap outside the image has the pixel None."""
    if padding == "wrap":
        x = x % size
    if method == "bicubic":  # the taps are brought inside, not the coordinate
        around = [math.floor(x) + i for i in (-1, 0, 1, 2)]
        found = [(i if padding == "wrap" else inside(i, size, padding, edges), cubic(x - i)) for i in around]
    else:
        x = x if padding == "wrap" else inside(x, size, padding, edges)
        around = [round(x)] if method == "nearest" else [math.floor(x), math.floor(x) + 1]  # round: half to even
        found = [(i, 1.0 if method == "nearest" else hat(x - i)) for i in around]
    if padding == "wrap":
        return [(int(i) % size, weight) for i, weight in found]
    found = [(int(i) if 0 <= i < size else None, weight) for i, weight in found]
    # With the other paddings only the tap after the last pixel is none, of weight 0.
    return found if padding == "zeros" else [tap for tap in found if tap[0] is not None]


def sample(image, coords, *, method="bilinear", padding="zeros", fill=0.0, edges=False):
    """(h, w, c), (..., 2) -> (..., c), or (d, h, w, c), (..., 3) -> (..., c)."""
    sizes, out = image.shape[:-1], np.zeros((*coords.shape[:-1], image.shape[-1]))
    for index in np.ndindex(*coords.shape[:-1]):
        position = coords[index][::-1]
        along = [taps(x, size, method, padding, edges) for x, size in zip(position, sizes, strict=True)]
        for choice in np.ndindex(*map(len, along)):
            pixels, weights = zip(*(axis[i] for axis, i in zip(along, choice, strict=True)), strict=True)
            out[index] += math.prod(weights) * (fill if None in pixels else image[pixels])
    return out


def grid_sample(image, grid, *, method="bilinear", padding="zeros", align_corners):
    coords = pixels(grid, image.shape[:-1], align_corners)
    return sample(image, coords, method=method, padding=padding, edges=not align_corners)


# Dai et al. (2017) Eq. 2, and Zhu et al. (2019) Eq. 1 with a mask.


def deformable_conv(
    image, kernel, offsets, mask=None, *, bias=0.0, stride=(1, 1), pads=((0, 0), (0, 0)), dilation=(1, 1), count=1
):
    """`pads` are ((top, bottom), (left, right)), the output is as large as the offsets, `count` is of weight groups."""
    rows, columns, groups, *cells = offsets.shape[:-1]
    kernel = whole_kernel(kernel, count)
    width = image.shape[-1] // groups
    out = np.zeros((rows, columns, kernel.shape[-1]))
    for i, j, g, m, n in np.ndindex(rows, columns, groups, *cells):
        x = j * stride[1] - pads[1][0] + n * dilation[1] + offsets[i, j, g, m, n, 0]
        y = i * stride[0] - pads[0][0] + m * dilation[0] + offsets[i, j, g, m, n, 1]
        channels = slice(g * width, (g + 1) * width)
        read = sample(image[..., channels], np.array([x, y]))
        out[i, j] += (1 if mask is None else mask[i, j, g, m, n]) * (read @ kernel[m, n, channels])
    return out + bias


def whole_kernel(kernel, count):
    """A kernel (kh, kw, c / count, c') of `count` groups as one (kh, kw, c, c'), 0 where an output reads no channel."""
    kh, kw, inputs, outputs = kernel.shape
    whole = np.zeros((kh, kw, inputs * count, outputs))
    for o in range(outputs):
        group = o // (outputs // count)
        for c in range(inputs):
            whole[:, :, group * inputs + c, o] = kernel[:, :, c, o]
    return whole


# Recasens et al. (2018) Eq. 4-5.


def saliency_cells(saliency, *, fwhm, pad, align_corners=True):
    """Where each cell of the map reads, normalised, before it is clamped: the weighted mean of the coordinates."""
    h, w = saliency.shape
    out = np.zeros((h, w, 2))
    for i, j in np.ndindex(h, w):
        total = 0.0
        for m, n in np.ndindex(2 * pad + 1, 2 * pad + 1):
            y, x = i + m - pad, j + n - pad
            there = saliency[min(max(y, 0), h - 1), min(max(x, 0), w - 1)]
            weight = there * 0.5 ** (4 * ((m - pad) ** 2 + (n - pad) ** 2) / fwhm**2)
            out[i, j] += weight * np.array([normalised(x, w, align_corners), normalised(y, h, align_corners)])
            total += weight
        out[i, j] /= total
    return out


def saliency_grid(saliency, shape, *, fwhm, pad):
    cells = np.clip(saliency_cells(saliency, fwhm=fwhm, pad=pad), -1, 1)
    return sample(cells, pixels(mapped_grid(lambda point: point, shape), saliency.shape), padding="border")


def right_derivatives(function, coords, step=1 / 32):
    """The slopes (..., c, axes) towards larger coordinates of a piecewise linear function: exact inside a cell."""
    slopes = [(function(coords + step * axis) - function(coords)) / step for axis in np.eye(coords.shape[-1])]
    return np.stack(slopes, -1)


def random_coords(rng, shape, sizes, *, beyond=1.5):
    """Pixel coordinates inside and outside an image of `sizes` (h, w), no nearer than 0.05 to an integer or a half."""
    low, high = -beyond, np.array(sizes[::-1], float) - 1 + beyond
    halves = np.floor(2 * rng.uniform(low, high, (*shape, len(sizes))))
    return (halves + rng.uniform(0.1, 0.9, halves.shape)) / 2


# ---- Volumetric transformers: candidates j of position i in a window, row by row


def candidates(position, window):
    """Yields the number of each candidate and its row and column."""
    rows, columns = window
    numbers = iter(range(rows * columns))
    for row in range(position[0] - rows // 2, position[0] + rows // 2 + 1):
        for column in range(position[1] - columns // 2, position[1] + columns // 2 + 1):
            yield next(numbers), row, column


def candidate_probabilities(residual, response, window, temperature, border):
    """VTN Eq. 2."""
    h, w, groups = response.shape
    probabilities = np.zeros(residual.shape)
    for y, x, c in np.ndindex(h, w, groups):
        weights = {}
        for j, row, column in candidates((y, x), window):
            inside = 0 <= row < h and 0 <= column < w
            if inside or border == "zero":
                answer = response[row, column, c] if inside else 0.0
                weights[j] = math.exp((answer + residual[y, x, c, j]) / temperature)
        for j, weight in weights.items():
            probabilities[y, x, c, j] = weight / sum(weights.values())
    return probabilities


def expected_displacement(probabilities, window):
    """VTN Eq. 1."""
    displacement = np.zeros((*probabilities.shape[:3], 2))
    for y, x, c in np.ndindex(*probabilities.shape[:3]):
        for j, row, column in candidates((y, x), window):
            displacement[y, x, c] += probabilities[y, x, c, j] * np.array([column - x, row - y])
    return displacement


# ---- Trilinear attention sampling: X is (channels, positions), as in the paper


def softmax(row):
    weights = [math.exp(value - max(row)) for value in row]
    return [weight / sum(weights) for weight in weights]


def trilinear_attention(features, normalise, sharpness):
    """TASN Eq. 1-2 and its Table 2, a scalar product at a time."""
    h, w, c = features.shape
    plain = [[float(features[y, x, k]) for y in range(h) for x in range(w)] for k in range(c)]
    sharp = [softmax([sharpness * value for value in row]) for row in plain]
    left = sharp if "spatial" in normalise else plain
    right = sharp if "spatial_right" in normalise else plain
    relation = [[sum(a * b for a, b in zip(i, j, strict=True)) for j in right] for i in left]
    if "relation" in normalise:
        relation = [softmax(row) for row in relation]
    maps = [[sum(row[k] * plain[k][p] for k in range(c)) for p in range(h * w)] for row in relation]
    if "output" in normalise:
        maps = [softmax(row) for row in maps]
    return np.array(maps).T.reshape(h, w, c)


def self_attention(features):
    h, w, _ = features.shape
    out = np.zeros((h, w, h * w))
    for k, (y, x) in enumerate(np.ndindex(h, w)):
        alike = [float(features[i, j] @ features[y, x]) for i in range(h) for j in range(w)]
        out[..., k] = np.reshape(softmax(alike), (h, w))
    return out


def attention_coords(attention, shape, *, dense=4.0, iterations=5):
    """The reference implementation's operator; each axis in units of its own mean, so that nothing need be square."""
    h, w = attention.shape
    columns = [max(float(attention[y, x]) for y in range(h)) for x in range(w)]
    rows = [max(float(attention[y, x]) for x in range(w)) for y in range(h)]
    lines = [[value * len(line) / sum(line) for value in line] for line in (columns, rows)]
    for number in range(0 if dense is None else iterations):
        bound = min(max(line) for line in lines)
        if number == 0:
            bound = min(bound, dense)
        lines = [[min(value, bound) for value in line] for line in lines]
        lines = [[value + (len(line) - sum(line)) / len(line) for value in line] for line in lines]
    return tuple(inverse_integral(line, count) for line, count in zip(lines, shape[::-1], strict=True))


def inverse_integral(line, count):
    integral = [0.0]
    for value in line[1:]:
        integral.append(integral[-1] + max(value, 1e-6))
    return np.interp([i * integral[-1] / count for i in range(count)], integral, range(len(line)))


def footprint(coords, rows, columns):
    """The points that output pixels are averaged over, by hand: the mean way to the neighbours, L to L - 1/L."""
    h, w, _ = coords.shape
    out = np.zeros((h, w, rows, columns, 2))
    for i, j, a, b in np.ndindex(h, w, rows, columns):
        point = coords[i, j].copy()
        above, below, left, right = max(i - 1, 0), min(i + 1, h - 1), max(j - 1, 0), min(j + 1, w - 1)
        ways = [
            ((a + 0.5) / rows - 0.5, coords[below, j] - coords[above, j], below - above),
            ((b + 0.5) / columns - 0.5, coords[i, right] - coords[i, left], right - left),
        ]
        for fraction, way, steps in ways:
            length = math.hypot(*way) / max(steps, 1)
            if length > 1:
                point += fraction * (length - 1 / length) * way / math.hypot(*way)
        out[i, j, a, b] = point
    return out.reshape(h, w, rows * columns, 2)
