"""Rows from PNG images, one row for each file."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from runner.errors import RequestError, listing
from runner.training.runtime import start_tensorflow

logger = logging.getLogger(__name__)

IMAGE_ENDING = ".png"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR, _OPAQUE = 1, 3, 255


def find_images(path: Path) -> list[Path]:
    """List the PNG images of a folder by name, hidden ones left out; a file stands for itself.

    Raises
    ------
    RequestError
        When there are none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name[0] != "." and file.is_file())
    images = [file for file in files if file.name.lower().endswith(IMAGE_ENDING)]
    if not images:
        raise RequestError(None, f"'{path}' has no {IMAGE_ENDING} images")
    others = [file.name for file in files if file not in set(images)]
    if others:
        logger.info("no %s images, passed over: %s", IMAGE_ENDING, listing(others, 5))
    return images


def image_batches(
    files: Sequence[Path], shape: tuple[int, ...], batch_rows: int, threads: int
) -> Iterator[np.ndarray]:
    """Read images as 8-bit arrays of shape (n, *shape), in the order of `files`.

    Parameters
    ----------
    shape
        (height, width) or (height, width, channels).
    threads
        What TensorFlow is started with, should this be its first use: it decodes the images.

    Raises
    ------
    RequestError
        Naming a file that is no PNG image, is damaged, or has another size or other channels.
    """
    for start in range(0, len(files), batch_rows):
        batch = files[start : start + batch_rows]
        yield np.stack([_read_image(file, shape, threads) for file in batch])


def _read_image(file: Path, shape: tuple[int, ...], threads: int) -> np.ndarray:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RequestError(None, f"cannot read '{file}': {error.strerror or error}") from None
    # Before it is unpacked: a small file can claim any size.
    width, height = _size(file, content)
    if (height, width) != shape[:2]:
        raise RequestError(
            str(file),
            f"is {height} pixels high and {width} wide; the model takes {shape[0]} by {shape[1]}",
        )
    pixels = _decoded(file, content, threads)
    return _with_channels(file, pixels, shape[2] if len(shape) > 2 else _GREY).reshape(shape)


def _size(file: Path, content: bytes) -> tuple[int, int]:
    """Width and height, which stand at the begin of the header (PNG specification, 11.2.2)."""
    if not content.startswith(_SIGNATURE) or len(content) < 24:
        raise RequestError(str(file), "is no PNG image")
    width, height = struct.unpack(">II", content[16:24])
    return int(width), int(height)


def _decoded(file: Path, content: bytes, threads: int) -> np.ndarray:
    start_tensorflow(threads)
    import tensorflow as tf

    try:
        pixels: np.ndarray = tf.io.decode_png(content).numpy()
    except tf.errors.InvalidArgumentError:
        raise RequestError(str(file), "is damaged") from None
    return pixels


def _with_channels(file: Path, pixels: np.ndarray, wanted: int) -> np.ndarray:
    """Grey for colour and the other way round, where nothing is lost by it."""
    if pixels.shape[2] == wanted:
        return pixels
    if pixels.shape[2] in (2, 4):
        if (pixels[..., -1] != _OPAQUE).any():
            raise RequestError(str(file), "is transparent in places; the model takes opaque images")
        pixels = pixels[..., :-1]
    if wanted == _GREY and (pixels == pixels[..., :1]).all():
        return pixels[..., :1]
    if wanted == _COLOUR and pixels.shape[2] == _GREY:
        return np.repeat(pixels, _COLOUR, axis=2)
    if pixels.shape[2] != wanted:
        raise RequestError(
            str(file), f"has {pixels.shape[2]} channels; the model takes images with {wanted}"
        )
    return pixels
